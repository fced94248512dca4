"""The house rules, read from the source: which room imports which, and what library code leaves alone."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: The order of the walk. A room imports from floors above its own, and from no room beside it.
FLOORS = [
    ("seeds", "store", "settings", "threads", "tensors", "display", "progress"), ("affinity", "tasks"),
    ("surrogate", "lineage"),
    ("policies",), ("learners",), ("trained_policy",), ("policy_file",), ("meta_policy",),
    ("generalization", "ground_truth", "comparison", "cross_evaluation"), ("reassignment",),
    ("plan", "group_policies"), ("preferences",), ("rollout_scores",),
    ("path_scores", "expectation_maximization"), ("grouped_tasks",),
    ("path_objectives", "preference_drawing"), ("grouped_preferences",),
    ("grouping", "preference_grouping"), ("run_folder", "run_text", "user_code", "standard_output"), ("cli",),
    ("__init__", "__main__"),
]  # fmt: skip

#: Matrices in, groups out: useful to anybody who clusters, so it imports no room but those of the first
#: floor, and nothing of reinforcement learning knows that results will be clustered.
APART, JOINED = "affinity", "plan"

#: Gradients in, scores out: useful to anybody with a model, so it knows nothing of reinforcement learning.
GROUND, PLAIN = "surrogate", {"seeds", "settings", "threads", "tensors", "display", "progress"}

#: Language models in, adapters out: it stands on gradients and groups, and on nothing of policies.
LANGUAGE, BASE = "preferences", PLAIN | {"affinity", "surrogate"}

#: What a release of torch may take away without a word, and what tells processors apart.
UNSTABLE = ("torch._", "torch.ops", "torch.cpu.get_capabilities")

#: The only module that sets the number of threads: it puts it back.
THREADS = ROOT / "gradex" / "threads.py"

#: Lines of a module, at most: one concept, read in one go.
LONGEST = 330

#: What a user runs in a shell may print.
COMMANDS = [ROOT / place for place in ("gradex/standard_output.py", "gradex/cli.py", "analysis/__main__.py")]

#: What writes files, and the module that may; pictures are drawn into files that it gives.
WRITING = {"mkdir", "write_text", "write_bytes", "to_csv", "to_json", "savetxt", "savez", "unlink", "rmtree"}
WRITER = "store.py"

#: Names of numpy.random that do not touch its global generator.
SEEDED = {"default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64"}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT / "gradex").parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def may_import(name: str) -> set[str]:
    """Give the rooms above this one."""
    if name == APART:
        return {"seeds", "settings", "threads", "tensors", "display"}
    if name == GROUND:
        return PLAIN
    if name == LANGUAGE:
        return BASE
    above = {other for rooms in FLOORS[: floor(name)] for other in rooms}
    return above if floor(name) >= floor(JOINED) else above - {APART}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dotted(node: ast.AST) -> str:
    """Give `a.b.c` of an attribute, or an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def compares_arrays(node: ast.AST) -> bool:
    """Tell a data class whose instances == would compare array by array, which has no answer."""
    if not isinstance(node, ast.ClassDef):
        return False
    options = {ast.unparse(each) for each in node.decorator_list if "dataclass" in ast.unparse(each)}
    held = [ast.unparse(each.annotation) for each in node.body if isinstance(each, ast.AnnAssign)]
    return any("eq=False" not in each for each in options) and any(
        kind in each
        for each in held
        if not each.startswith("Callable")
        for kind in ("np.ndarray", "Tensor", "pd.DataFrame")
    )


def offences(path: Path) -> Iterator[str]:
    """Give what library code should not do."""
    source = path.read_text()
    lines = source.splitlines()
    for node in ast.walk(tree := ast.parse(source)):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Assert) and "for the type checker" not in lines[node.lineno - 1]:
            yield f"{where} asserts"
        if compares_arrays(node):
            yield f"{where} compares arrays"
        if isinstance(node, ast.Call) and dotted(node.func) == "print" and path not in COMMANDS:
            yield f"{where} prints"
        writes = isinstance(node, ast.Attribute) and node.attr in WRITING
        if writes and path.relative_to(ROOT).parts[0] != "analysis" and path.name != WRITER:
            yield f"{where} writes by {node.attr}"
        if isinstance(node, ast.Call) and dotted(node.func) == "np.random.default_rng":
            fixed = all(isinstance(argument, ast.Constant) for argument in node.args)
            if not fixed and path.name != "seeds.py" and path.parent.name != "tasks":
                yield f"{where} draws for no purpose"
        name = dotted(node)
        if name.startswith(("np.random.", "numpy.random.")) and name.split(".")[2] not in SEEDED:
            yield f"{where} uses {name}"
        if name in ("torch.manual_seed", "torch.seed", "torch.random.manual_seed"):
            yield f"{where} uses {name}"
    for module in imported(tree):
        if module == "random" or module.startswith("random."):
            yield f"{path.relative_to(ROOT)} imports random"


def uses_of_torch(path: Path) -> Iterator[str]:
    """Give uses of torch that would break with a release, or outlast a call."""
    tree = ast.parse(path.read_text())
    names = {dotted(node) for node in ast.walk(tree)} | set(imported(tree))
    for name in sorted(names):
        if name.startswith(UNSTABLE) or (name.endswith("set_num_threads") and path != THREADS):
            yield f"{path.relative_to(ROOT)} uses {name}"


@pytest.mark.parametrize("path", files("gradex"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_from_the_rooms_above_it(path: Path) -> None:
    names = set(imported(ast.parse(path.read_text())))
    ours = {name.split(".")[1] for name in names if name.startswith("gradex.")}
    assert ours - {room(path)} <= may_import(room(path))
    assert "gradex" not in names
    assert not {name for name in names if name.split(".")[0] in ("analysis", "tests")}
    if room(path) == APART:
        assert not {name for name in names if name.split(".")[0] in ("torch", "gymnasium")}
    if room(path) in (GROUND, LANGUAGE):
        assert "gymnasium" not in {name.split(".")[0] for name in names}


def test_no_module_imports_another_in_a_circle() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files("gradex")}
    graph = {}
    for name, path in modules.items():
        names = set(imported(ast.parse(path.read_text())))
        graph[name] = {
            other for each in names for other in (each, each.rpartition(".")[0]) if other in modules
        }
    assert graph["gradex.tasks.families"] > {"gradex.tasks.family", "gradex.tasks.cartpole"}
    assert len(list(TopologicalSorter(graph).static_order())) == len(modules)  # fails by naming a circle


def test_no_module_is_too_long_to_read_in_one_go() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in files("gradex")}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize("path", files("analysis"), ids=lambda path: str(path.relative_to(ROOT)))
def test_analysis_imports_public_names_only(path: Path) -> None:
    names = [name for name in imported(ast.parse(path.read_text())) if name.split(".")[0] == "gradex"]
    assert not [name for name in names if any(part.startswith("_") for part in name.split("."))]


@pytest.mark.parametrize("package", ["gradex", "analysis"])
def test_library_code_neither_asserts_nor_prints_nor_draws_from_global_generators(package: str) -> None:
    assert [offence for path in files(package) for offence in offences(path)] == []


def test_the_reader_of_offences_sees_them(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(
        "import random\nassert x\nprint(1)\nnp.random.seed(0)\ny = np.random.normal\ntorch.manual_seed(0)\n"
        "assert x  # for the type checker\nnp.random.default_rng(0)\ntorch.Generator().manual_seed(0)\n"
        "path.write_text('')\nnp.random.default_rng([seed, 1])\n"
        "@dataclass(frozen=True)\nclass Bad:\n    of: Tensor\n"
        "@dataclass(eq=False)\nclass Good:\n    of: Tensor\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "ROOT", tmp_path)
        found = sorted(offence.partition(" ")[2] for offence in offences(path))
    assert found == [
        "asserts", "compares arrays", "draws for no purpose", "imports random", "prints",
        "uses np.random.normal", "uses np.random.seed", "uses torch.manual_seed", "writes by write_text",
    ]  # fmt: skip


def test_torch_is_used_by_its_public_names_and_left_as_it_was(tmp_path: Path) -> None:
    assert [use for path in files("gradex") for use in uses_of_torch(path)] == []
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import torch._dynamo\nfrom torch._inductor import utils\ntorch.ops.aten.tanh\ntorch.nn.Tanh\n"
        "torch.cpu.get_capabilities()\ntorch.set_num_threads(1)\ntorch._C\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "ROOT", tmp_path)
        found = [use.partition(" uses ")[2] for use in uses_of_torch(bad)]
    assert found == [
        "torch._C", "torch._dynamo", "torch._inductor.utils", "torch.cpu.get_capabilities", "torch.ops",
        "torch.ops.aten", "torch.ops.aten.tanh", "torch.set_num_threads",
    ]  # fmt: skip
