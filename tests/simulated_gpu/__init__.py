"""A simulated CUDA GPU: the whole of the path that runs on one, on a machine that has none.

What is on `cuda:0` has a shape, a type and a size, but no numbers. Nothing is computed and no memory is
taken, so the real architecture runs through large frames within seconds. What mixes devices, gives an
operation types that it doesn't take, or reads a GPU's memory as the host's fails as it would on a GPU. The
host's own tensors are real as ever. Whatever is copied to the host is made up: zeros, and `True` for what
asks whether something is in order.

    with SimulatedGPU(total_memory=8 * 10**9) as gpu:
        upscaler = Upscaler.load(str(tiny_folder), device="cuda", num_inference_steps=2)
        upscaler(batch)
    gpu.memory.peak               # bytes, with the weights
    gpu.memory.peaks["decode"]    # the same during a stage: "denoise", "decode", "finish", or "other"
    gpu.operations["denoise"]     # operations, two per multiply-add, as counted by `FlopCounterMode`
    gpu.waits["denoise"]          # number of times that the host had to wait for the device
    gpu.copies["finish"]          # bytes copied to the host

In tests, the fixture `simulated_gpu` is such a device with 24 GB. `gpu.reset()` starts all counts anew.
`save_real_model(folder)` writes a folder that `Upscaler.load` accepts in the simulation as sd-x4 at its real
size; there are no weights in it, and none are made.

Not simulated: the workspaces of cuBLAS and cuDNN, the CUDA context, fragmentation, and time.
"""

from tests.simulated_gpu.gpu import SimulatedGPU
from tests.simulated_gpu.meters import STAGES, Memory
from tests.simulated_gpu.models import save_real_model, save_real_stream_model

__all__ = ["STAGES", "Memory", "SimulatedGPU", "save_real_model", "save_real_stream_model"]
