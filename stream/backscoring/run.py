"""Score a transactions file: read, part, judge, take in, score, join. This is the page to read first.

Cards and other parties are run through apart, each in shards that fit into memory, on as many processes as wanted; what
comes out depends on neither. Nothing here reads a clock or prints.
"""

from functools import partial

from features.vector.sets import FeatureSets
from models.loading import Model
from stream.backscoring.blocks import join_parts, score_block
from stream.backscoring.file_source import open_tables, read_file
from stream.backscoring.loading import model_of, resolve
from stream.backscoring.pool import Pool
from stream.backscoring.progress import Progress
from stream.backscoring.request import FileRequest, ScoreReport
from stream.backscoring.sharding import part
from stream.backscoring.stages import PROCESS_MEMORY_MB, counted, run_passes, stage, workfolder
from stream.backscoring.workplace import Workplace, shards_for


def score_file(request: FileRequest, progress: Progress) -> ScoreReport:
    """Score every row of a file.

    Raises:
        FileError: what is wrong with the file, and what to do about it.
        BackscoringError: what is wrong with the model, or with this machine.
    """
    digest = resolve(request.models, request.model)
    sets = sets_of(model_of(request.models, digest, request.sets), request.sets)
    with workfolder(request.out.parent) as folder:
        progress("read", 0, 1)
        facts = read_file(request.file, folder, request.threads)
        progress("read", 1, 1)
        shards = shards_for(facts.rows, request.threads)
        place = Workplace(folder, sets, facts.rows, facts.rows, shards, PROCESS_MEMORY_MB)
        with open_tables(folder, request.threads) as connection:
            part(connection, place)
        progress("part", 1, 1)
        with Pool(request.threads) as pool:
            run_passes(place, pool, progress)
            size = ("score", place.blocks, place.rows)
            stage(place, pool, partial(score_block, request.models, digest), size, progress)
        return write(place, request, digest)


def sets_of(model: Model, sets: FeatureSets) -> FeatureSets:
    """Return the one feature set that a model needs: histories are kept as long as it asks."""
    return FeatureSets((sets.by_fingerprint[model.fingerprint],))


def write(place: Workplace, request: FileRequest, digest: str) -> ScoreReport:
    """Join the parts, and count what is in them."""
    with open_tables(place.folder, request.threads) as connection:
        join_parts(connection, place, request.out)
        return ScoreReport(
            digest=digest,
            out=str(request.out),
            rows=place.rows,
            fates=counted(connection, place, "fate"),
            decisions=counted(connection, place, "decision"),
        )
