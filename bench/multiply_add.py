"""The most that a card computes: products and sums in registers, of which none waits for another."""

import triton
import triton.language as tl

SIZE, CHAINS, UNROLLED = 512, 8, 8  # numbers of a program; chains of each; products of each between two branches


@triton.jit
def multiply_add(numbers, rounds, SIZE: tl.constexpr, CHAINS: tl.constexpr, UNROLLED: tl.constexpr):  # noqa: N803
    """Take rounds · UNROLLED products and sums in each of CHAINS · SIZE chains; factor and shift follow the numbers."""
    place = tl.arange(0, SIZE)
    factor, shift = tl.load(numbers + SIZE), tl.load(numbers + SIZE + 1)
    chains = ()
    for k in tl.static_range(CHAINS):
        chains = chains + (tl.load(numbers + place) + k,)
    for _ in range(rounds):
        for _ in tl.static_range(UNROLLED):
            new = ()
            for k in tl.static_range(CHAINS):
                new = new + (chains[k] * factor + shift,)
            chains = new
    total = chains[0]
    for k in tl.static_range(1, CHAINS):
        total += chains[k]
    tl.store(numbers + place, total, total == 12345.0)  # hardly ever, but the compiler cannot know
