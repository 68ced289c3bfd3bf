"""`fraudstream features check`: prints all that is wrong with modules of features."""

import msgspec

from fraudstream.cli.output import say
from fraudstream.lab.declarations.checking import ModuleFindings, check_modules
from fraudstream.terminal import echo


def run_check(modules: str, *, as_json: bool) -> None:
    """Check modules, and exit with 1 if something is wrong with one of them."""
    found = check_modules(modules)
    is_valid = not any(one.problems for one in found)
    if as_json:
        say(as_json, {"valid": is_valid, "modules": msgspec.to_builtins(found)}, "")
    else:
        for one in found:
            _print(one)
    if not is_valid:
        raise SystemExit(1)


def _print(found: ModuleFindings) -> None:
    for problem in found.problems:
        echo(f"{found.module}: {problem}")
    for warning in found.warnings:
        echo(f"{found.module}: warning: {warning}")
    tried = f", each tried on {found.payments:,} generated payments" if found.payments else ""
    wrong = f"{len(found.problems)} problems" if found.problems else "nothing wrong"
    echo(f"{found.module}: {found.fields} fields, {found.rows} rows, {found.formulas} formulas{tried}: {wrong}")
