"""Runs a module whose import failed, statement by statement, and collects what each refused declaration says.

An import ends at the first declaration that is refused. Here each call at the top level of the module that refuses its
arguments gives `MISSING` instead, and each statement that fails is passed over, so that all is looked at once. What
follows from an earlier error is not reported: a name that a failed statement would have bound, a call with a value that
is missing.
"""

import __future__

import ast
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from features.errors import DeclarationError

_CALL = "_fraudstream_call"
_OF_FRAMES = frozenset({"super", "locals", "globals", "vars", "dir", "eval", "exec"})
"""Functions that read the frame which calls them."""


class _Missing:
    """Stands for a value that could not be declared; nothing is in it, and all that is done with it gives the same."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __getattr__(self, _name: str) -> "_Missing":
        return self

    def __call__(self, *_: Any, **__: Any) -> "_Missing":  # noqa: ANN401 - whatever a module calls it with
        return self


MISSING = _Missing()


class LenientRun(NamedTuple):
    """What a module bound as far as it could be run, and what is wrong with it.

    Attributes:
        bound: its names and their values.
        problems: with their lines, in the order in which they occurred.
        unbound: names that failed statements would have bound.
        refused: first arguments, as far as they are texts, of calls that were refused: names of fields and rows.
    """

    bound: dict[str, Any]
    problems: tuple[str, ...]
    unbound: frozenset[str]
    refused: frozenset[str]


def run_leniently(module_name: str) -> LenientRun | None:
    """Run a module that `features.formulas.import_attribute` has looked for; None if there is no source of it."""
    try:
        spec = importlib.util.find_spec(module_name)
        source = getattr(spec.loader, "get_source", lambda _name: None)(module_name) if spec else None
        tree = ast.parse(source or "")
    except (ImportError, SyntaxError, ValueError):
        return None
    if spec is None or source is None:
        return None
    module, run = importlib.util.module_from_spec(spec), _Run(spec.origin or module_name)
    module.__dict__[_CALL] = run.call
    before = sys.modules.get(module_name)
    sys.modules[module_name] = module  # a data class looks its own module up
    try:
        for statement in tree.body:
            run.execute(statement, module.__dict__)
    finally:
        sys.modules.pop(module_name)
        if before is not None:
            sys.modules[module_name] = before
    return LenientRun(module.__dict__, tuple(run.problems), frozenset(run.unbound), frozenset(run.refused))


class _Run:
    """The statements of one module, and what went wrong with them."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._flags = 0
        self.problems: list[str] = []
        self.unbound = set[str]()
        self.refused = set[str]()

    def execute(self, statement: ast.stmt, bound: dict[str, Any]) -> None:
        """Execute one statement with the values of those before it."""
        names = set(_bound_by(statement))
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            self._flags |= sum(getattr(__future__, one.name).compiler_flag for one in statement.names)
        one = ast.fix_missing_locations(ast.Module([_Calls().visit(statement)], []))
        try:
            exec(compile(one, self._origin, "exec", self._flags, dont_inherit=True), bound)  # noqa: S102 - as an import does
        except Exception as error:  # noqa: BLE001 - foreign code can raise anything
            self.unbound |= names - bound.keys()
            if not (isinstance(error, NameError) and error.name in self.unbound):
                kind = "" if isinstance(error, DeclarationError) else f"{type(error).__name__}: "
                self.problems.append(f"line {statement.lineno}: {kind}{error}")

    def call(self, line: int, function: Callable[..., Any], /, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - as called
        """Call a function; give `MISSING` where it refuses a declaration, or misses a value."""
        if any(value is MISSING for value in (*given, *named.values())):
            return MISSING
        try:
            return function(*given, **named)
        except (DeclarationError, TypeError) as error:
            kind = "" if isinstance(error, DeclarationError) else "TypeError: "
            self.problems.append(f"line {line}: {kind}{error}")
            self.refused.update(value for value in given[:1] if isinstance(value, str))
            return MISSING


class _Calls(ast.NodeTransformer):
    """Passes the calls at the top level of a module through `_Run.call`; bodies of functions and classes stay."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _OF_FRAMES:
            return node
        line = ast.Constant(node.lineno)
        passed = ast.Call(ast.Name(_CALL, ast.Load()), [line, node.func, *node.args], node.keywords)
        return ast.copy_location(passed, node)

    def _left(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = _left  # noqa: N815 - of ast


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement binds in its module."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]
