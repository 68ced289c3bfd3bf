"""What a report of an experiment says in sentences: who won or what is missing, and what a reader must know."""

from collections.abc import Iterator

from fraudstream.ops.report.quantities import MeanMoney, WithInterval, day_text, quantity_text
from fraudstream.ops.rollout.experiments.comparison import Missing
from fraudstream.ops.rollout.experiments.report import ExperimentReport
from fraudstream.ops.rollout.outcomes.costs import costs_text
from fraudstream_client.arms import LIVE
from models.times import format_time
from stream.contract.money import number_text


def verdict_line(report: ExperimentReport) -> str:
    """Return the winner, or that there is none yet, in one sentence."""
    if report.misassigned:
        return f"no winner: {report.misassigned:,} decisions carry another arm than the cards' buckets say"
    if report.ratio.breached:
        return "no winner: the cards are not divided as the shares say, so the arms cannot be compared"
    if report.winner is not None:
        return f"{report.winner} wins: it loses less per card than every arm of another model"
    return "not yet: no arm loses less per card than every arm of another model with certainty"


def headline_words(report: ExperimentReport) -> str:
    """Return what the report says, in a sentence: which arm is better and by how much, or what is missing."""
    if report.misassigned or report.ratio.breached:
        return "Unsound: the arms cannot be compared"
    if report.winner is not None:
        return f"Better: {report.winner} {_lead(report.winner, report)}"
    final, waiting = len(report.losses.arms), len(report.losses.waiting_ms)
    if not final and waiting:
        ask = day_text(report.losses.final_by_ms(int(report.losses.waiting_ms[0]), report.terms))
        return f"Too early to say: 0 of {waiting:,} cards are mature; ask again on {ask}"
    return f"Too early to say: by {final:,} mature cards no arm loses less than every arm of another model"


def _lead(winner: str, report: ExperimentReport) -> str:
    """Return how much less the winner loses than live, or than the first arm of another model."""
    models = report.experiment.models
    found = [one for one in report.standings.to(winner) if models[one.first] != models[one.second]]
    nearest = min(found, key=lambda one: LIVE not in (one.first, one.second))
    low, high = nearest.of(winner).interval or (0.0, 0.0)
    saved = WithInterval(None, *(MeanMoney(-end, report.currency) for end in (high, low)))
    other = nearest.second if nearest.first == winner else nearest.first
    return f"loses {quantity_text(saved)} less a card than {other}"


def missing_lines(report: ExperimentReport) -> Iterator[str]:
    """Yield what is missing before an arm can win; nothing if one has won."""
    if report.winner is not None or report.ratio.breached or report.misassigned:
        return
    losses, terms = report.losses, report.terms
    if not report.standings.missing:
        if not len(losses.arms) and len(losses.waiting_ms):
            first = format_time(losses.final_by_ms(int(losses.waiting_ms[0]), terms))
            yield f"no card is final yet; the first is at the latest on {first}, sooner if all is labelled"
        elif any(not one.cards for one in report.standings.arms.values()):
            yield "an arm has no final card yet"
        else:
            yield "all arms have the same model, so that none can win: such an experiment shows whether it is sound"
    yield from map(_missing_line, report.standings.missing)


def _missing_line(one: Missing) -> str:
    begin = f"{one.leader} before {one.other}:"
    if one.cards is None:
        return f"{begin} {one.why}"
    when = "" if one.days is None else f", in about {one.days:,.0f} days at the present rate"
    over = "; the experiment has not so many" if one.days is None else ""
    return f"{begin} about {one.cards:,} more final cards, if the present difference is the true one{when}{over}"


def promises(report: ExperimentReport) -> Iterator[str]:
    """Yield what the figures promise and what they rest on."""
    terms, code = report.terms, report.currency
    yield (
        f"arms are compared by the loss of what their models said, in {code}: {costs_text(terms.costs, code)}; a card "
        f"counts once, with its first {terms.card_days:g} days, up to {code} {number_text(terms.cap_minor, code)}, "
        f"when all it paid in them has a label or is {terms.maturity.maturity_days:g} days old"
    )
    if terms.label_share < 1:
        times = f"{1 / terms.label_share:,.3g} times"
        yield f"an approved fraud counts {times} there, since {terms.label_share:.0%} of frauds are labelled"
    yield (
        f"a winner that is none is ever named, and an interval of a difference ever misses, with a probability of at "
        f"most {terms.alpha:g}, however often it is looked at; each pair of arms has {report.standings.alpha_each:g}"
    )
    yield (
        "that is about the mean over the cards that paid in the experiment and are final now: all that appeared within "
        f"the same {terms.card_days:g} days count when the last of them is final"
    )
    yield (
        "arms share merchants: their histories and labels hold payments of all arms, so an arm's decisions reach the "
        "features of the others, and differences may look smaller than they are"
    )
    yield f"other intervals are for one look, at {1 - terms.alpha:.0%}"
    if report.cards_bp < 10_000:  # noqa: PLR2004 - all cards
        yield f"{report.cards_bp / 100:g}% of the cards were read, always the same ones; sums are theirs"


def remarks(report: ExperimentReport) -> Iterator[str]:
    """Yield what a reader must know about these figures."""
    if report.excluded:
        yield f"{report.excluded:,} decisions on excluded cards are in no figure"
    unseen = sum(one.coverage.unobserved for one in report.figures)
    if unseen:
        yield (
            f"nobody knows what {unseen:,} declined payments were: the differences hold whatever they were, and "
            "figures are bounded both ways; `fraudstream limits set --let-through` shows a share of them"
        )
    capped = sum(one.capped for one in report.standings.arms.values())
    if capped:
        yield f"the losses of {capped:,} cards were cut at the cap"
    if report.losses.cut_off:
        yield f"{report.losses.cut_off:,} cards appeared too late in the experiment to become final"
