"""Which traces are sampled, by the rule of one of the SDK's samplers, for a tenth of the time that asking it takes.

A rule is asked about every record before anything is built, so it is two numbers and not an object of the SDK.
"""

import re
from typing import NamedTuple, Self

from opentelemetry.sdk.trace.sampling import Sampler, TraceIdRatioBased

_LOW_BITS = TraceIdRatioBased.TRACE_ID_LIMIT
_KNOWN = re.compile(r"(ParentBased\{root:)?(AlwaysOn|AlwaysOff|TraceIdRatioBased)(?:Sampler)?(?:\{([^}]+)\})?")


class SamplingRule(NamedTuple):
    """The traces whose ids' lower 64 bits are below `bound` are sampled; with `follows_parent`, of roots only.

    Then the flag of its parent decides about every other record.
    """

    bound: int
    follows_parent: bool

    @classmethod
    def of(cls, sampler: Sampler) -> Self:
        """Return the rule of a sampler that the environment can name.

        Raises:
            ValueError: it is another one.
        """
        found = _KNOWN.match(sampler.get_description())
        if found is None:
            raise ValueError(f"no rule is known for the sampler {sampler.get_description()}")
        parent, root, rate = found.groups()
        share = float(rate) if rate else float(root == "AlwaysOn")
        return cls(TraceIdRatioBased.get_bound_for_rate(share), parent is not None)

    def takes(self, trace_id: int) -> bool:
        """Tell whether a trace is sampled of which no parent's flag decides."""
        return trace_id & _LOW_BITS < self.bound
