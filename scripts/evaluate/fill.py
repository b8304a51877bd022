"""Compute results of the models of others into a cache, without scoring them."""

import argparse
import time

from scripts.evaluate.cache import Runner
from scripts.evaluate.cases import load_cases
from scripts.evaluate.clips import reduce_clean
from scripts.evaluate.pictures import load_pictures


def run(arguments: argparse.Namespace) -> None:
    """Apply every method to the input of `video` and `pictures`, the methods one after the other."""
    runner = Runner(arguments.cache, arguments.threads, arguments.under_load)
    inputs = {case.name: case.low_res for case in load_cases(arguments)}
    pictures = load_pictures(arguments.pictures)
    inputs["pictures"] = [reduce_clean(picture[None]) for picture in pictures.values()]
    for method in arguments.methods:
        for name, low_res in inputs.items():
            start = time.perf_counter()
            run = runner.run(method, low_res)
            seconds = time.perf_counter() - start
            state = "some in the cache" if run.from_cache else "new"
            print(f"{method}, {name}: {len(low_res)} clips, {state}, {seconds:.0f} s", flush=True)
