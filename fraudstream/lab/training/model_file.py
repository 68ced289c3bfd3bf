"""Reads a LightGBM model that was trained elsewhere, and returns its text in the form that artifacts hold.

A file by `Booster.save_model` says more than the margins depend on: parameters, importances, constraints of the
training, the sigmoid's slope. That is left out, and `models.model_text` checks the rest as a worker will. What changes
margins and is not supported is a problem; all problems are named at once.

Where a training took columns of a data frame for categories, its trees know each value by its place among all, which
the file lists (`pandas_categorical`), without the columns' names: they are those that the parameters name.
"""

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fraudstream.lab.training.request import ModelFileError
from models.artifact import LARGEST_BYTES, Parameter
from models.booster import Booster
from models.categories import LARGEST_CODE, MOST_CATEGORIES, Categories
from models.errors import DamagedArtifactError
from models.model_text import check_model_text, with_categories_moved
from stream.redaction import shown

_OPENING, _END = "tree\n", "\nend of trees\n"
_KEPT = ("feature_infos", "tree_sizes")
"""Lines of the header that are kept as they are; the others are known once the model is accepted."""
_NEEDED = ("version", "feature_names", *_KEPT)
_PARAMETERS = (
    "boosting", "objective", "num_leaves", "max_depth", "learning_rate", "min_data_in_leaf", "max_bin",
    "min_data_in_bin", "feature_fraction", "bagging_fraction", "lambda_l1", "lambda_l2", "is_unbalance",
    "scale_pos_weight", "seed",
)  # fmt: skip
"""The parameters of the training that a manifest keeps; others are of the machine, or without effect on trees."""
LABEL_COLUMNS = frozenset({"fraud", "labelled_at"})
"""Columns of a vectors file that nobody knows at the decision."""
_MOST_NAMED = 5
_READS_UNDEFINED_AS_0 = frozenset({"0", "2"})
"""Decision types of a feature that was never undefined in training, with the missing values left or right."""
_TABLES = "pandas_categorical:"
_ADVICE = "train on the feature columns of `fraudstream features compute`, in their order"


class ModelFile(NamedTuple):
    """A model that can be served here.

    `text` is LightGBM's text of the trees alone, with the names of the feature set. `digest` is the SHA-256 of the
    file. `undefined_as_0` are the features that were never undefined in training: where they are, LightGBM reads 0.
    `categories` are the values of each feature that was a data frame's category, in the order of the numbers, from 1
    on, by which `text` knows them.
    """

    text: str
    digest: str
    parameters: dict[str, Parameter]
    features_by_position: bool
    undefined_as_0: frozenset[str]
    categories: Mapping[str, tuple[int, ...]]

    @property
    def seed(self) -> int:
        """Return the seed of the training, 0 if it is not known."""
        seed = self.parameters.get("seed", 0)
        return seed if isinstance(seed, int) else 0


def read_model_file(
    path: Path, names: tuple[str, ...], *, by_position: bool, categories: Collection[str] = ()
) -> ModelFile:
    """Read a model of these features; `categories` are those whose values are codes of a category.

    With `by_position`, a model without feature names is accepted if it has as many features.

    Raises:
        ModelFileError: it is no such model; the message names everything that is wrong with it.
    """
    return parse_model_file(_read(path), path, names, by_position=by_position, categories=categories)


def parse_model_file(
    value: bytes, path: Path, names: tuple[str, ...], *, by_position: bool, categories: Collection[str] = ()
) -> ModelFile:
    """Read the bytes of a model file; messages name its path. Raises like `read_model_file`."""
    text, end, rest = _decoded(path, value).partition(_END)
    head, separator, trees = text.removeprefix(_OPENING).partition("\n\n")
    header = dict(_pairs(head))
    if not (text.startswith(_OPENING) and separator and end):
        raise ModelFileError(f"{path}: {_NO_MODEL}")
    problems = [*_missing_lines(header)] or [*_header_problems(header), *_tree_problems(header, trees)]
    problems += _name_problems(header.get("feature_names", "").split(" "), names, by_position=by_position)
    _refuse(path, problems)
    served = f"{_OPENING}{_header(header, names)}\n\n{trees}{_END}"
    tables, problems = _tables(rest, names)
    try:
        used = {names[int(feature)] for tree in check_model_text(served, names) for feature in tree.features}
        _refuse(path, (*problems, *_code_problems(used.intersection(categories).difference(tables))))
        served = with_categories_moved(served, {names.index(name) for name in tables}, by=1)
        Booster(served, names, Categories.of(tables, names))
    except DamagedArtifactError as error:
        raise ModelFileError(f"{path}: {str(error).removeprefix('model.txt: ')}") from error
    return ModelFile(
        text=served,
        digest=hashlib.sha256(value).hexdigest(),
        parameters=_parameters(rest) | {"num_iterations": len(header["tree_sizes"].split(" "))},
        features_by_position=_is_unnamed(header["feature_names"].split(" ")),
        undefined_as_0=frozenset(names[at] for at in _undefined_as_0(trees)),
        categories=tables,
    )


def _refuse(path: Path, problems: Sequence[str]) -> None:
    if problems:
        raise ModelFileError("\n".join(f"{path}: {problem}" for problem in problems))


_NO_MODEL = (
    "is not a LightGBM model as text: save it by booster.save_model('model.txt'), "
    "in scikit-learn's style by model.booster_.save_model('model.txt')"
)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise ModelFileError(f"{path}: has {size:,} bytes, more than the {LARGEST_BYTES:,} of an artifact")
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error


def _decoded(path: Path, value: bytes) -> str:
    """Decode a file; a checkout on Windows may have changed its line ends, by which LightGBM would not find trees."""
    try:
        return value.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise ModelFileError(f"{path}: {_NO_MODEL}") from None


def _pairs(head: str) -> Iterator[tuple[str, str]]:
    for line in head.split("\n"):
        name, _, value = line.partition("=")
        yield name, value


def _missing_lines(header: dict[str, str]) -> Iterator[str]:
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        yield f"its header lacks {', '.join(missing)}: save the model again with LightGBM 4"


def _header_problems(header: dict[str, str]) -> Iterator[str]:
    """Yield what the header says of the model that is not supported."""
    if header["version"] != "v4":
        yield f"is of format {shown(header['version'])}, not v4: load it with LightGBM 4, and save it again"
    objective, *_ = header.get("objective", "").split(" ")
    if not objective:
        yield "names no objective, as after training with one of your own: train with objective=binary"
    elif objective != "binary":
        yield f"has the objective {shown(objective)}: train with objective=binary, one class that is fraud"
    if "average_output" in header:
        yield "averages its trees (a random forest): train with boosting=gbdt or dart"


def _tree_problems(header: dict[str, str], trees: str) -> Iterator[str]:
    """Yield what trees do that is not supported, because its results differ between machines."""
    lines = trees.split("\n")
    if not header["tree_sizes"]:
        yield "has no trees: nothing was learnt; see the warnings of its training"
    if "is_linear=1" in lines:
        yield "has linear models in its leaves: train with linear_tree=false"


def _tables(rest: str, names: Sequence[str]) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Return the values of each feature that was a data frame's category, and what is wrong with them."""
    listed = next((line.removeprefix(_TABLES) for line in rest.split("\n") if line.startswith(_TABLES)), "null")
    try:
        found = json.loads(listed) or []
    except ValueError:
        return {}, [f"the list of its data frame's categories cannot be read: {shown(listed)}; save the model again"]
    columns = _category_columns(rest)
    if not found:
        return {}, []
    if len(found) != len(columns) or any(at >= len(names) for at in columns):
        problem = (
            f"its data frame had {len(found)} columns of categories, and the training took {len(columns)} for that: "
            "nothing says which they are; leave categorical_feature out, and let no category be ordered"
        )
        return {}, [problem]
    tables = {names[at]: values for at, values in zip(columns, found, strict=True)}
    problems = [problem for name, values in tables.items() for problem in _value_problems(name, values)]
    return {} if problems else {name: tuple(map(int, values)) for name, values in tables.items()}, problems


def _category_columns(rest: str) -> list[int]:
    """Return the columns that the training took for categories, ascending."""
    opening = "[categorical_feature: "
    line = next((line for line in rest.split("\n") if line.startswith(opening)), opening)
    words = line.removeprefix(opening).removesuffix("]").split(",")
    return sorted({int(word) for word in words if word.isdecimal()})


def _value_problems(name: str, values: Sequence[object]) -> Iterator[str]:
    sound = [one for one in values if isinstance(one, int | float) and 0 <= one < LARGEST_CODE and one == int(one)]
    if len(sound) < len(values):
        yield (
            f"{shown(name)}: its categories are not the numbers that vectors have; {_ADVICE}, each as it is, by "
            "frame[name].astype('category')"
        )
    elif len(values) > MOST_CATEGORIES:
        yield f"{shown(name)}: has {len(values):,} categories, more than {MOST_CATEGORIES:,}: leave the feature out"


def _code_problems(names: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with splits of features whose values are codes, as numbers or as LightGBM's categories."""
    if names:
        yield (
            f"splits {_listed(sorted(names))} by codes, which have no order, and of whose 48 bits LightGBM keeps 32: "
            "train on a data frame with frame[name] = frame[name].astype('category')"
        )


def _name_problems(found: list[str], names: tuple[str, ...], *, by_position: bool) -> Iterator[str]:
    """Yield how a model's features differ from those of the feature set, by name and order."""
    if _is_unnamed(found):
        if len(found) != len(names):
            yield f"has {len(found)} features without names, the feature set has {len(names)}: {_ADVICE}"
        elif not by_position:
            yield (
                f"has no feature names (Column_0, …): {_ADVICE} and with their names, by feature_name= or as the "
                "columns of a data frame; or take them by position (--features-by-position), if the order is right"
            )
        return
    missing, extra = [one for one in names if one not in found], [one for one in found if one not in names]
    if missing:
        yield f"lacks {len(missing)} of the {len(names)} features: {_listed(missing)}; {_ADVICE}"
    if labels := [one for one in extra if one in LABEL_COLUMNS]:
        yield f"was trained with the label among its columns: {_listed(labels)}; {_ADVICE}"
    if others := [one for one in extra if one not in LABEL_COLUMNS]:
        yield f"has features that are not computed here: {_listed(others)}; {_ADVICE}"
    if not (missing or extra) and found != list(names):
        at = next(at for at, (one, other) in enumerate(zip(found, names, strict=False)) if one != other)
        yield (
            f"has the features in another order, first in column {at}: {shown(found[at])} instead of "
            f"{shown(names[at])}; {_ADVICE}"
        )


def _is_unnamed(found: list[str]) -> bool:
    """Tell whether these are the names that LightGBM gives to the columns of a matrix."""
    return found == [f"Column_{at}" for at in range(len(found))]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(shown, names[:_MOST_NAMED])) + more


def _header(header: dict[str, str], names: tuple[str, ...]) -> str:
    """Return the header that artifacts have: margins depend neither on the slope of the sigmoid nor on constraints."""
    lines = {
        "version": "v4",
        "num_class": "1",
        "num_tree_per_iteration": "1",
        "label_index": "0",
        "max_feature_idx": str(len(names) - 1),
        "objective": "binary sigmoid:1",
        "feature_names": " ".join(names),
    }
    return "\n".join(f"{name}={value}" for name, value in (lines | {name: header[name] for name in _KEPT}).items())


def _parameters(rest: str) -> dict[str, Parameter]:
    """Return what the file says of its training, as lines `[name: value]` behind the trees."""
    pairs = (line[1:-1].partition(": ") for line in rest.split("\n") if line.startswith("[") and line.endswith("]"))
    found = {name: value for name, _, value in pairs}
    return {name: _parameter(found[name]) for name in _PARAMETERS if name in found}


def _parameter(text: str) -> Parameter:
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if text.removeprefix("-").isdecimal() else number


def _undefined_as_0(trees: str) -> set[int]:
    """Return the columns of which some split takes an undefined value for 0."""
    columns: set[int] = set()
    features: list[str] = []
    for line in trees.split("\n"):
        name, _, value = line.partition("=")
        if name == "split_feature":
            features = value.split(" ")
        elif name == "decision_type":
            pairs = zip(features, value.split(" "), strict=False)
            columns |= {int(feature) for feature, kind in pairs if kind in _READS_UNDEFINED_AS_0}
    return columns
