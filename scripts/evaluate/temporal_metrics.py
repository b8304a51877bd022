"""Metrics of enlarged clips: steadiness, nearness, and sharpness, since blur flatters steadiness."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor

from scripts.evaluate.clips import Clip, Step, fetch, measure_flow
from scripts.evaluate.flat_noise import flat_noise
from scripts.evaluate.metrics import Lpips, luma, psnr_y, ssim_y
from scripts.evaluate.perceptual import Features, PerceptualMetrics, vmaf
from vidx4.frames import SCALE

MARGIN = 8
"""Pixels along the edges that temporal metrics ignore."""
STILL_LEVELS = 2
STILL_MARGIN = 8
"""A low-resolution pixel stands still if none within the margin varies by more levels than that."""
SAMPLED = slice(6, None, 12)
"""Frames for the slowest metrics; not the first ones, which have no past."""
STICKING_SIGMA = 2.0
"""Standard deviation of the blur that fine detail does not survive, in output pixels."""


@dataclass(frozen=True)
class VideoScore:
    """Scores of one method on one clip; NaN for a metric that doesn't apply."""

    psnr_y: float
    """dB; higher is nearer."""
    ssim_y: float
    lpips: float
    """From 0; lower is nearer to the eye."""
    lpips_vgg: float
    """LPIPS with another network; like `dists`, of `SAMPLED` frames."""
    dists: float
    vmaf: float
    """Up to 100; higher is nearer."""
    t_lpips: float
    """Error of the change from frame to frame, in thousandths of LPIPS (tLP of TecoGAN)."""
    t_of: float
    """Mean error of the optical flow, in output pixels (tOF of TecoGAN)."""
    warp_error: float
    """Difference from the last frame warped to this one, where both show the same, in luma levels."""
    flicker: float
    """Standard deviation over time where the source stands still, in 8-bit luma levels."""
    sticking: float
    """Percent of the fine detail's error that stays in place while the whole picture moves."""
    sharpness: float
    """Mean gradient of luma over the truth's."""
    flat_noise: float
    """Noise on flat areas over the truth's; see `flat_noise`."""


class VideoMetrics:
    """Metrics of results against one clip.

    Args:
        clip: the truth.
        low_res: the input of the methods, (T, H, W, 3).
        lpips: the metric for nearness and for changes.
        perceptual: further metrics.
    """

    def __init__(self, clip: Clip, low_res: np.ndarray, lpips: Lpips, perceptual: PerceptualMetrics) -> None:
        self.clip = clip
        self._low_res = low_res
        self._lpips, self._perceptual = lpips, perceptual

    @cached_property
    def _truth(self) -> Tensor:
        return _to_tensors(self.clip.frames)

    @cached_property
    def _true_features(self) -> list[Features]:
        return [self._perceptual.features(frame) for frame in self._truth.split(1)[SAMPLED]]

    @cached_property
    def _luma(self) -> np.ndarray:
        return _luma(self._truth)

    @cached_property
    def _flows(self) -> list[np.ndarray]:
        return [_measured_flow(b, a) for a, b in pairwise(self._luma)]

    @cached_property
    def _true_lpips(self) -> list[list[Tensor]]:
        return self._lpips_features(self._truth)

    @cached_property
    def _true_changes(self) -> np.ndarray:
        return self._lpips_of_changes(self._true_lpips)

    def score(self, result: np.ndarray) -> VideoScore:
        """Score enlarged frames, uint8, (T, 4H, 4W, 3)."""
        frames = _to_tensors(result)
        planes, lpips, still = _luma(frames), self._lpips_features(frames), _still(self._low_res)
        pairs = list(zip(frames.split(1), self._truth.split(1), strict=True))
        distances = [
            self._distances(frame, features)
            for frame, features in zip(frames.split(1)[SAMPLED], self._true_features, strict=True)
        ]
        return VideoScore(
            psnr_y=_mean(psnr_y(a, b) for a, b in pairs),
            ssim_y=_mean(ssim_y(a, b) for a, b in pairs),
            lpips=_mean(
                float(self._lpips.distance(a, b)) for a, b in zip(lpips, self._true_lpips, strict=True)
            ),
            lpips_vgg=_mean(lpips_vgg for lpips_vgg, _ in distances),
            dists=_mean(dists for _, dists in distances),
            vmaf=vmaf(result, self.clip.frames),
            t_lpips=1000 * _mean(np.abs(self._lpips_of_changes(lpips) - self._true_changes)),
            t_of=_mean(
                np.linalg.norm(_measured_flow(b, a) - truth, axis=-1)[_INNER].mean()
                for (a, b), truth in zip(pairwise(planes), self._flows, strict=True)
            ),
            warp_error=_mean(
                _warp_error(a, b, step)
                for (a, b), step in zip(pairwise(planes), self.clip.steps, strict=True)
            ),
            flicker=float(planes.std(axis=0)[still].mean()) if still.any() else float("nan"),
            sticking=self._sticking(planes) if self.clip.is_pan else float("nan"),
            sharpness=_mean(gradient(a) / gradient(b) for a, b in zip(planes, self._luma, strict=True)),
            flat_noise=flat_noise(planes, self._luma),
        )

    @torch.inference_mode()
    def _lpips_features(self, frames: Tensor) -> list[list[Tensor]]:
        return [self._lpips.features(frame) for frame in frames.split(1)]

    def _lpips_of_changes(self, features: list[list[Tensor]]) -> np.ndarray:
        return np.array([float(self._lpips.distance(a, b)) for a, b in pairwise(features)])

    def _distances(self, frame: Tensor, true: Features) -> tuple[float, float]:
        """Return LPIPS-VGG and DISTS of a frame, whose features take too much memory to be kept."""
        features = self._perceptual.features(frame)
        return self._perceptual.lpips_vgg(features, true), self._perceptual.dists(features, true)

    def _sticking(self, planes: np.ndarray) -> float:
        """Fit each frame's error by the last one's, in place and moved along (least squares)."""
        errors = [_fine(plane - truth) for plane, truth in zip(planes, self._luma, strict=True)]
        shares = []
        for (last, error), step in zip(pairwise(errors), self.clip.steps, strict=True):
            inner = np.zeros_like(step.seen)
            inner[_INNER] = step.seen[_INNER]
            causes = np.stack([last[inner], fetch(last, step.flow)[inner]], axis=1)
            in_place, _ = np.linalg.lstsq(causes, error[inner], rcond=None)[0]
            shares.append(100 * in_place)
        return max(0.0, _mean(shares))


def true_luma(clip: Clip) -> np.ndarray:
    """Return the luma of a clip's truth, float32, (T, H, W)."""
    return _luma(_to_tensors(clip.frames))


_INNER = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]


def _mean(values: object) -> float:
    return float(np.mean(list(values)))  # type: ignore[call-overload]


def _to_tensors(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()) / 255


def _luma(frames: Tensor) -> np.ndarray:
    """Return studio-range luma, float32, (T, H, W)."""
    planes: np.ndarray = luma(frames)[:, 0].float().numpy()
    return planes


def _measured_flow(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    return measure_flow(start.round().astype(np.uint8), end.round().astype(np.uint8))


def _warp_error(last: np.ndarray, frame: np.ndarray, step: Step) -> float:
    error = np.abs(frame - fetch(last, step.flow))
    return float(error[_INNER][step.seen[_INNER]].mean())


def _still(low_res: np.ndarray) -> np.ndarray:
    """Return which output pixels lie where the source stands still in all frames, bool, (4H, 4W)."""
    moves = (np.ptp(low_res, axis=0) > STILL_LEVELS).any(axis=-1).astype(np.uint8)
    near = cv2.dilate(moves, np.ones((2 * STILL_MARGIN + 1,) * 2, np.uint8))
    still: np.ndarray = near.repeat(SCALE, axis=0).repeat(SCALE, axis=1) == 0
    return still


def _fine(plane: np.ndarray) -> np.ndarray:
    fine: np.ndarray = plane - cv2.GaussianBlur(plane, (0, 0), STICKING_SIGMA)
    return fine


def gradient(plane: np.ndarray) -> float:
    """Return the mean gradient of a plane, (H, W): a measure of sharpness."""
    return float(np.hypot(cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)).mean())
