"""A rule samples exactly the traces that the SDK's sampler does, the oracle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    AlwaysRecordSampler,
    Decision,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from stream.telemetry.sampling import SamplingRule

ROOTS = st.one_of(st.sampled_from([ALWAYS_ON, ALWAYS_OFF]), st.floats(0.0, 1.0).map(TraceIdRatioBased))
EDGES = st.sampled_from([1, (1 << 64) - 1, 1 << 64, (1 << 128) - 1, (1 << 63) - 1, 1 << 63])
TRACE_IDS = st.one_of(st.integers(1, (1 << 128) - 1), EDGES)


def wanted(sampler: Sampler, context: Context, trace_id: int) -> bool:
    return sampler.should_sample(context, trace_id, "process").decision is Decision.RECORD_AND_SAMPLE


@given(ROOTS, TRACE_IDS)
def test_a_rule_takes_the_roots_that_the_sampler_takes(root: Sampler, trace_id: int) -> None:
    for sampler in (root, ParentBased(root)):
        assert SamplingRule.of(sampler).takes(trace_id) == wanted(sampler, Context(), trace_id)


@given(ROOTS, TRACE_IDS, st.sampled_from([0, 1]))
def test_a_parents_flag_decides_exactly_where_it_does_for_the_sampler(root: Sampler, trace_id: int, flag: int) -> None:
    remote = SpanContext(trace_id, 1, is_remote=True, trace_flags=TraceFlags(flag))
    context = set_span_in_context(NonRecordingSpan(remote), Context())
    for sampler in (root, ParentBased(root)):
        rule = SamplingRule.of(sampler)
        decision = bool(flag) if rule.follows_parent else rule.takes(trace_id)
        assert decision == wanted(sampler, context, trace_id)


def test_a_sampler_that_no_variable_can_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no rule is known for the sampler AlwaysRecordSampler"):
        SamplingRule.of(AlwaysRecordSampler(ALWAYS_ON))
