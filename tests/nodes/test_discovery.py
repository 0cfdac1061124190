"""A new node is a new file: nothing else names it."""

import sys
import textwrap

import pytest

NODE = """
    class {name}:
        DISPLAY_NAME = "LayerFlow {name}"
        CATEGORY = "LayerFlow"
        RETURN_TYPES = ()
        FUNCTION = "run"

        @classmethod
        def INPUT_TYPES(cls):
            return {{"required": {{}}}}
"""


@pytest.fixture
def find(pack, tmp_path, monkeypatch):
    """Write modules into a package and find its nodes."""
    discovery = sys.modules[f"{pack.__name__}.nodes.discovery"]
    package = f"nodes_of_{tmp_path.name}"
    folder = tmp_path / package

    def run(**modules):
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(tmp_path)
        return [cls.__name__ for cls in discovery.find_nodes(package, [str(folder)])]

    yield run
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        sys.modules.pop(name)


def test_nodes_are_found_in_the_order_of_their_files(find):
    helper = "class Placement:\n    FUNCTION = 'run'\n"
    importing = "from .b import B\n"
    modules = {"b": NODE.format(name="B"), "a": NODE.format(name="Z"), "c": helper, "d": importing}
    assert find(**modules) == ["Z", "B"]


def test_two_nodes_of_one_id_are_refused(find):
    same = NODE.format(name="Same")
    with pytest.raises(TypeError, match="Same"):
        find(a=same, b=same)


def test_every_node_of_the_pack_has_a_file_of_its_own(pack):
    files = [cls.__module__ for cls in pack.NODE_CLASS_MAPPINGS.values()]
    assert len(set(files)) == len(files)
    assert files == sorted(files)
