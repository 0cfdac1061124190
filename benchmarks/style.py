"""How densely a code base is written: ``python benchmarks/style.py [folder or file ...]``.

Counts, over the Python files of each argument (default: this pack's own code, without its tests):

* tokens per code line: names, numbers, strings and operators, over the lines that hold any (docstrings left out);
* lines over 100 characters, tuple assignments and comprehensions, each per 1,000 code lines;
* lines of a function from ``def`` to its end: median and longest.
"""

from __future__ import annotations

import ast
import statistics
import sys
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
OWN_CODE = (ROOT / "__init__.py", ROOT / "nodes", ROOT / "layerflow_core")
WIDE = 100
_LAYOUT_TOKENS = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DOCUMENTED = (ast.Module, ast.ClassDef, *_FUNCTIONS)


@dataclass
class Style:
    """Sums over files."""

    tokens: int = 0
    code_lines: int = 0
    wide_lines: int = 0
    tuple_assignments: int = 0
    comprehensions: int = 0
    function_lines: list[int] = field(default_factory=list)

    def add(self, path: Path) -> None:
        """Count one file."""
        text = path.read_text()
        tree = ast.parse(text)
        self._count_lines(path, text, _docstring_lines(tree))
        for node in ast.walk(tree):
            self._count_node(node)

    def row(self) -> tuple[str, ...]:
        """The figures as text."""
        thousands = self.code_lines / 1000
        return (
            f"{self.code_lines:,}",
            f"{self.tokens / self.code_lines:.1f}",
            f"{self.wide_lines / thousands:.1f}",
            f"{self.tuple_assignments / thousands:.1f}",
            f"{self.comprehensions / thousands:.1f}",
            f"{statistics.median(self.function_lines):.0f}, {max(self.function_lines)}",
        )

    def _count_lines(self, path: Path, text: str, documentation: set[int]) -> None:
        code = set()
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type in _LAYOUT_TOKENS or token.start[0] in documentation:
                    continue
                self.tokens += 1
                code.update(range(token.start[0], token.end[0] + 1))
        self.code_lines += len(code)
        self.wide_lines += sum(len(line) > WIDE for line in text.splitlines())

    def _count_node(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            self.tuple_assignments += isinstance(node.value, ast.Tuple)
        self.comprehensions += isinstance(node, _COMPREHENSIONS)
        if isinstance(node, _FUNCTIONS):
            self.function_lines.append(node.end_lineno - node.lineno + 1)


def measure(path: Path) -> Style:
    """The style of a file, or of all Python files below a folder."""
    style = Style()
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        style.add(file)
    return style


def _docstring_lines(tree: ast.Module) -> set[int]:
    """Lines of strings that stand alone, which document what is above them."""
    lines = set()
    for node in ast.walk(tree):
        for statement in getattr(node, "body", []) if isinstance(node, _DOCUMENTED) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                lines.update(range(statement.lineno, statement.end_lineno + 1))
    return lines


def main(arguments: list[str]) -> None:
    named = [(argument, [Path(argument)]) for argument in arguments]
    print(
        "| code | lines | tokens per line | wide | tuple assignments | comprehensions | functions |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, paths in named or [("this pack", OWN_CODE)]:
        total = Style()
        for path in paths:
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                total.add(file)
        print("|", " | ".join((name, *total.row())), "|")


if __name__ == "__main__":
    main(sys.argv[1:])
