# %% [markdown]
# # How fast did both sides answer?
#
# Each pair holds one request as the primary answered it and as the shadow did. This shows the latencies of both sides: a
# table by API, and their distribution. The pairs come from a journal (`shadow.pairs = "journal"`), from a pair log, or from
# the `--pairs` of a replay.
#
#     python latency.py /srv/journal            # the table, and a window with the plot
#     python latency.py pairs.ndjson plot.png   # the plot into a file
#
# The primary's time is from the request to the response, by HAProxy's clock. The shadow's is from the beginning of the
# attempt that was answered to the end of the answer, by the agent's clock; it includes the way to the shadow and the HAProxy
# before it. So compare shapes and trends, and not microseconds.

# %%
from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from spoa_agent import read_pairs

SOURCE = sys.argv[1] if len(sys.argv) > 1 else "/var/lib/spoa-agent/journal"
PLOT: Optional[Path] = Path(sys.argv[2]) if len(sys.argv) > 2 else None

# %% [markdown]
# ## Reading
#
# One pair at a time: a capture may be larger than memory, two numbers for each request are not. A pair without one of the
# answers has no latency to compare; a request that was sent in several parts has several pairs. Both are left out.

# %%
primary: dict[str, list[float]] = defaultdict(list)
shadow: dict[str, list[float]] = defaultdict(list)
left_out = 0

pairs = read_pairs(SOURCE)
for pair in pairs:
    if pair.primary_us is None or pair.shadow_us is None or pair.more or pair.items:
        left_out += 1
        continue
    primary[pair.api].append(pair.primary_us / 1000)
    shadow[pair.api].append(pair.shadow_us / 1000)

compared = sum(map(len, primary.values()))
print(f"{compared} requests compared, {left_out} left out; {pairs.counts}")

# %% [markdown]
# ## The table

# %%
PERCENTILES = (50, 90, 99, 99.9)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


print(f"\n{'API':24} {'requests':>8}  " + "  ".join(f"p{percent:<5} primary / shadow" for percent in PERCENTILES) + "   (ms)")
for api in sorted(primary, key=lambda name: -len(primary[name])):
    cells = [f"{percentile(primary[api], p):14.2f} / {percentile(shadow[api], p):6.2f}" for p in PERCENTILES]
    print(f"{api:24} {len(primary[api]):8}  " + "  ".join(cells))

# %% [markdown]
# ## The plot
#
# How many requests were answered within a time, on a logarithmic axis: where the two curves part, the sides differ.


# %%
def curve(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Latencies, and how many percent of the requests had no more."""
    ordered = sorted(values)
    return ordered, [100 * (number + 1) / len(ordered) for number in range(len(ordered))]


try:
    import matplotlib.pyplot as plt
except ImportError:
    print("\nThere is no matplotlib, so there is no plot: pip install 'spoa-agent[plot]'")
else:
    names = sorted(primary, key=lambda name: -len(primary[name]))[:4]
    figure, axes = plt.subplots(1, max(1, len(names)), sharey=True, squeeze=False, figsize=(4 * max(1, len(names)), 4))
    for axis, api in zip(axes[0], names):
        for side, latencies in (("primary", primary[api]), ("shadow", shadow[api])):
            axis.step(*curve(latencies), where="post", label=side)
        axis.set(xscale="log", xlabel="milliseconds", title=f"{api} ({len(primary[api])})")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("% of requests answered")
    axes[0][0].legend()
    figure.tight_layout()
    if PLOT is None:
        plt.show()
    else:
        figure.savefig(PLOT, dpi=120)
        print(f"\n{PLOT}")
