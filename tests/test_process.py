"""No code flips a switch of the process while threads work, or does work in an assertion."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "vidx4"
SWITCHES = frozenset(
    {
        *("catch_warnings", "chdir", "filterwarnings", "putenv", "resetwarnings", "set_default_dtype"),
        *("set_flags", "set_flush_denormal", "set_grad_enabled", "set_level", "set_num_threads", "setLevel"),
        *(
            "setlocale",
            "setrecursionlimit",
            "seterr",
            "simplefilter",
            "umask",
            "use_deterministic_algorithms",
        ),
    }
)
"""Functions that change something for the whole process."""
OWNERS = frozenset(
    {
        *("cli/terminal.py", "jobs/cluster/actors.py", "jobs/cluster/local_ray.py"),
        *("jobs/cluster/worker.py", "printing.py", "temporal/motion.py"),
    }
)
"""Files that may do so, once, when a process begins, or starts or joins a cluster."""
PURE = frozenset({"all", "any", "isinstance", "len"})
"""Functions that an assertion may call: it vanishes under `-O`."""


def parsed() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def called(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Call):
            yield getattr(each.func, "attr", "") or getattr(each.func, "id", "")


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.Lambda]:
    return (each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.Lambda))


def test_no_switch_of_the_process_is_flipped_while_work_runs() -> None:
    flipped = {
        (name, call)
        for name, tree in parsed()
        if name not in OWNERS
        for function in functions(tree)
        for call in called(function)
        if call in SWITCHES
    }
    assert not flipped


def test_no_attribute_of_a_module_is_assigned_in_a_function() -> None:
    """As in `Image.MAX_IMAGE_PIXELS = None`, which counts for every thread."""
    assigned = {
        (name, ast.unparse(target))
        for name, tree in parsed()
        if name not in OWNERS
        for function in functions(tree)
        for each in ast.walk(function)
        if isinstance(each, ast.Assign | ast.AugAssign)
        for target in (each.targets if isinstance(each, ast.Assign) else [each.target])
        if ast.unparse(target).split(".")[0].split("[")[0] in imported(tree)
    }
    assert not assigned


def imported(tree: ast.Module) -> set[str]:
    """Return the names of imported modules, and of classes and submodules imported from others."""
    names = (
        alias for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names
    )
    return {(alias.asname or alias.name).split(".")[0] for alias in names}


def test_no_assertion_has_an_effect() -> None:
    calls = {
        (name, call)
        for name, tree in parsed()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        for call in called(node.test)
    }
    assert {call for _, call in calls} <= PURE, calls
