"""The wheel: which target a request goes to."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import gcd

from .config import Target, Upstream

Shuffle = Callable[[list["Address"]], None]


class NoPeerError(Exception):
    """Nobody to send to; the message is Kong's."""

    def __init__(self) -> None:
        """Say it in Kong's words."""
        super().__init__("failure to get a peer from the ring-balancer")


@dataclass(eq=False)
class Address:
    """A target on the wheel."""

    target: Target
    available: bool = True

    @property
    def key(self) -> str:
        """`ip:port`."""
        return self.target.name


@dataclass
class Wheel:
    """`weight / gcd` slots per address, shuffled once; every pick moves the pointer by one slot.

    Which targets failed is not remembered within a request: a retry is just the next slot.
    """

    addresses: Sequence[Address]
    threshold: float = 0.0
    shuffle: Shuffle = random.shuffle
    slots: list[Address] = field(default_factory=list)
    pointer: int = 0

    def __post_init__(self) -> None:
        """Fill the wheel."""
        self.rebuild()

    def rebuild(self) -> None:
        """Fill and shuffle the wheel anew, as Kong does when health changes; the pointer stays."""
        divisor = gcd(*(address.target.weight for address in self.addresses))
        self.slots = [a for a in self.addresses for _ in range(a.target.weight // divisor if divisor else 0)]
        self.shuffle(self.slots)

    @property
    def healthy(self) -> bool:
        """Whether more than `threshold` percent of the weight is available."""
        total = sum(a.target.weight for a in self.addresses)
        available = sum(a.target.weight for a in self.addresses if a.available)
        return total > 0 and available / total * 100 > self.threshold

    def pick(self) -> Address:
        """Return the next available address. Raises NoPeerError."""
        if self.healthy:
            for _ in self.slots:
                self.pointer = (self.pointer + 1) % len(self.slots)
                if self.slots[self.pointer].available:
                    return self.slots[self.pointer]
        raise NoPeerError

    def set_available(self, address: Address, available: bool) -> None:
        """Change an address's state."""
        if address.available != available:
            address.available = available
            self.rebuild()


def wheel_of(upstream: Upstream, shuffle: Shuffle = random.shuffle) -> Wheel:
    """Return the wheel of an upstream; all targets start healthy."""
    addresses = [Address(target) for target in upstream.targets]
    return Wheel(addresses, float(upstream.healthchecks["threshold"]), shuffle)
