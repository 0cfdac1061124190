"""A pickle's plain data, without anything in it being called.

Not Python's unpickler but a machine of our own over ``pickletools.genops``, which only takes a pickle apart. What a
pickle wants to be called becomes a record: storages and tensors are described by ``StoredTensor``, other objects by
``Opaque``, and a call of anything that is not in the list below refuses the file. No object of torch, numpy or any
other library is ever made here.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError

MOST_OPERATIONS = 2_000_000
"""A checkpoint of 2,000 tensors has about 80,000."""

_LONGEST_NAME = 1000  # letters of a module or of a class in it


@dataclass(frozen=True, eq=False)
class Global:
    """A name that the pickle speaks of, ``module.name``; it is never imported."""

    name: str


@dataclass(frozen=True, eq=False)
class Opaque:
    """An object that is left unread."""

    name: str


@dataclass(frozen=True, eq=False)
class Storage:
    """A storage, by what the pickle says of it.

    Args:
        kind: torch's name of the storage's class, ``torch.FloatStorage``.
        key: of its bytes in the archive.
    """

    kind: str
    key: str


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor, by what the pickle says of it; nothing of it is checked here but its types.

    Args:
        offset, size, stride: in elements of its storage.
        dtype: torch's name, ``torch.float8_e4m3fn``; None: the storage's own.
    """

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str | None = None


class _Mark:
    """Where the arguments of an operation begin."""


class _Damaged(Exception):
    """The pickle contradicts itself."""


def read_pickle(data: bytes, source: str) -> Any:
    """Dicts, lists, tuples, numbers and text as they are; everything else as the records above.

    Dictionary keys that are neither text nor numbers are left out with their values.

    Args:
        source: for messages.

    Raises:
        CheckpointError: damaged, too long, or it wants something to be called that is not known to be harmless.
    """
    machine = _Machine(source)
    try:
        for operation, argument, _ in pickletools.genops(io.BytesIO(data)):
            machine.do(operation.name, argument)
        return machine.pop()
    except (ValueError, IndexError, KeyError, TypeError, _Damaged) as error:
        raise CheckpointError(
            f"{source} cannot be read: its list of tensors is damaged; get the file again"
        ) from error


class _Machine:
    """The stack and memo of a pickle."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._count = 0

    def do(self, name: str, argument: Any) -> None:
        self._count += 1
        if self._count > MOST_OPERATIONS:
            raise CheckpointError(
                f"{self._source} cannot be read: got a pickle of more than {MOST_OPERATIONS} operations, "
                "expected tensors by name"
            )
        if name in _PUSHES:
            self._stack.append(argument)
            return
        if name not in _OPERATIONS:
            raise _Damaged(name)
        _OPERATIONS[name](self, argument)

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        value = self._stack.pop()
        if isinstance(value, _Mark):
            raise _Damaged("a mark in place of a value")
        return value

    def top(self) -> Any:
        value = self.pop()
        self._stack.append(value)
        return value

    def pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while not isinstance(value := self._stack.pop(), _Mark):
            values.append(value)
        values.reverse()
        return values

    def remember(self, number: int | None) -> None:
        self._memo[len(self._memo) if number is None else number] = self.top()

    def recall(self, number: int) -> None:
        self._stack.append(self._memo[number])

    def name_global(self, argument: str) -> None:
        self._stack.append(Global(argument.replace(" ", ".", 1)))

    def name_global_from_stack(self) -> None:
        name = self.pop()
        module = self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise _Damaged("a name that is no text")
        if len(module) + len(name) > _LONGEST_NAME:  # a few bytes can recall long texts many times
            raise _Damaged("a name that is too long")
        self._stack.append(Global(f"{module}.{name}"))

    def call(self) -> None:
        arguments = self.pop()
        function = self.pop()
        self._stack.append(self._answer(function, arguments))

    def call_class(self, arguments: list[Any]) -> None:
        """Protocols 0 and 1: the class stands first."""
        self._stack.append(self._answer(arguments[0], tuple(arguments[1:])))

    def _answer(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, Global) and function.name in _WRAPPERS:
            function = arguments[0]
            arguments = arguments[2]
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise _Damaged("a call of something that has no name")
        if function.name in _HARMLESS or function.name.startswith(_HARMLESS_PACKAGES):
            return Opaque(function.name)
        if function.name in _ANSWERS:
            return _ANSWERS[function.name](*arguments)
        shown = ascii(function.name)[1:-1][:200]
        if function.name.startswith(_TENSOR_MAKERS):
            raise CheckpointError(
                f"{self._source} cannot be read as weights: got a tensor made by {shown}, "
                "expected plain ones (not sparse, not quantised); save it with plain weights"
            )
        raise CheckpointError(
            f"{self._source} cannot be read as weights: it wants to run {shown}, "
            "which is never done; expected tensors and plain data"
        )

    def make_object(self) -> None:
        """An object of a class, empty; what fills it is left unread too."""
        self.pop()
        kind = self.pop()
        if not isinstance(kind, Global):
            raise _Damaged("an object of something that has no name")
        self._stack.append(Opaque(kind.name))

    def make_object_of_keywords(self) -> None:
        self.pop()
        self.make_object()

    def fill(self) -> None:
        """State of an object: left unread."""
        self.pop()
        self.top()

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, dict):
            target.update(_pairs(items))
        elif not isinstance(target, Opaque):
            raise _Damaged("entries of something that has none")

    def append(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Opaque):
            raise _Damaged("entries of something that has none")

    def set_item(self) -> None:
        value = self.pop()
        key = self.pop()
        self.set_items([key, value])

    def find_storage(self, identity: Any) -> None:
        """What torch writes: ('storage', class, key, device, elements)."""
        if not isinstance(identity, tuple) or len(identity) < 3 or identity[0] != "storage":
            raise _Damaged("something outside that is no storage")
        _, kind, key = identity[:3]
        if not isinstance(kind, Global) or not isinstance(key, str):
            raise _Damaged("a storage without name")
        self._stack.append(Storage(kind.name, key))


def _pairs(items: list[Any]) -> dict[Any, Any]:
    """Only keys that cost nothing to hash: tuples nested into each other could take forever."""
    if len(items) % 2:
        raise _Damaged("a key without value")
    pairs = zip(items[::2], items[1::2])
    return {key: value for key, value in pairs if isinstance(key, (str, int, float))}


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise _Damaged("a size that is no number")
    return value


def _numbers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > _MOST_DIMENSIONS:
        raise _Damaged("a shape that is none")
    return tuple(_whole(number) for number in value)


_MOST_DIMENSIONS = 16


def _describe_tensor(
    storage: Any = None, offset: Any = None, size: Any = None, stride: Any = None, *_: Any
) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise _Damaged("a tensor without storage")
    return StoredTensor(storage, _whole(offset), _numbers(size), _numbers(stride))


def _describe_typed_tensor(*arguments: Any) -> StoredTensor:
    """torch's ``_rebuild_tensor_v3``: ..., requires_grad, hooks, dtype."""
    tensor = _describe_tensor(*arguments)
    dtype = arguments[6]
    if not isinstance(dtype, Global):
        raise _Damaged("a dtype without name")
    return StoredTensor(tensor.storage, tensor.offset, tensor.size, tensor.stride, dtype.name)


def _take_first(value: Any = None, *_: Any) -> Any:
    return value


def _make_dict(*_: Any) -> dict:
    return {}


_ANSWERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _make_dict,
    "torch._utils._rebuild_tensor": _describe_tensor,
    "torch._utils._rebuild_tensor_v2": _describe_tensor,
    "torch._utils._rebuild_tensor_v3": _describe_typed_tensor,
    "torch._utils._rebuild_parameter": _take_first,
    "torch._utils._rebuild_parameter_with_state": _take_first,
    "torch.Size": _take_first,
}
# Tensors that carry attributes: (function, class, its arguments, attributes).
_WRAPPERS = {"torch._tensor._rebuild_from_type_v2"}
# What stands beside weights in files of training runs, and is left unread.
_HARMLESS = {
    "_codecs.encode",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.frozenset",
    "builtins.set",
    "builtins.slice",
    "__builtin__.bytearray",
    "__builtin__.complex",
    "__builtin__.frozenset",
    "__builtin__.set",
    "argparse.Namespace",
    "collections.Counter",
    "collections.defaultdict",
    "collections.deque",
    "datetime.datetime",
    "datetime.timedelta",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib.WindowsPath",
    "torch.device",
    "torch.serialization._get_layout",
    *(f"numpy.{name}" for name in ("dtype", "ndarray")),
    *(
        f"numpy.{core}.multiarray.{name}"
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar", "_frombuffer")
    ),
    *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
}
# Their objects stand in files of training runs: settings, enumerations, counters.
_HARMLESS_PACKAGES = ("deepspeed.", "lightning.", "omegaconf.", "pytorch_lightning.")
_TENSOR_MAKERS = ("torch._utils._rebuild_", "torch._tensor._rebuild_")

_PUSHES = {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
}
_Operation = Callable[[_Machine, Any], None]
_OPERATIONS: dict[str, _Operation] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "STOP": lambda machine, _: None,
    "MARK": lambda machine, _: machine.push(_Mark()),
    "POP": lambda machine, _: machine.pop() and None,
    "POP_MARK": lambda machine, _: machine.pop_to_mark() and None,
    "DUP": lambda machine, _: machine.push(machine.top()),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_SET": lambda machine, _: machine.push(Opaque("set")),
    "LIST": lambda machine, _: machine.push(machine.pop_to_mark()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "DICT": lambda machine, _: machine.push(_pairs(machine.pop_to_mark())),
    "FROZENSET": lambda machine, _: machine.push(_opaque_set(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push((machine.pop(),)),
    "TUPLE2": lambda machine, _: machine.push(_reversed(machine.pop(), machine.pop())),
    "TUPLE3": lambda machine, _: machine.push(
        _reversed(machine.pop(), machine.pop(), machine.pop())
    ),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "ADDITEMS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_item(),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "PUT": _Machine.remember,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": lambda machine, _: machine.remember(None),
    "GET": _Machine.recall,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "GLOBAL": _Machine.name_global,
    "STACK_GLOBAL": lambda machine, _: machine.name_global_from_stack(),
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.make_object(),
    "NEWOBJ_EX": lambda machine, _: machine.make_object_of_keywords(),
    "OBJ": lambda machine, _: machine.call_class(machine.pop_to_mark()),
    "BUILD": lambda machine, _: machine.fill(),
    "BINPERSID": lambda machine, _: machine.find_storage(machine.pop()),
}


def _reversed(*values: Any) -> tuple[Any, ...]:
    return values[::-1]


def _opaque_set(_: list[Any]) -> Opaque:
    return Opaque("frozenset")
