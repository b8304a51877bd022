"""Values that are stored once in the cluster, and fetched where they are needed."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ref(Generic[Value]):
    """Reference to a value in the object store: small, however large the value."""

    key: object
    """The store's own reference."""


class ObjectStore(Protocol):
    """Memory that all workers of a cluster can read."""

    def put(self, value: Value) -> Ref[Value]:
        """Store a value; it is kept as long as somebody holds the reference."""

    def get(self, ref: Ref[Value]) -> Value:
        """Fetch a value."""
