"""Weights of MIRAGE from the files people have: the authors' Lightning checkpoints, BasicSR's, safetensors."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import pickle
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from .mirage_arch import MIRAGEArch

__all__ = [
    'CheckpointError',
    'convert_released_state_dict',
    'infer_arguments',
    'load_entry',
    'load_into',
    'load_network',
    'load_weights',
    'read_notes',
    'read_safetensors',
    'save_weights',
    'to_safetensors',
    'torch_file_fault',
]

StateDict = dict[str, Tensor]

_PREFIXES = ('net.', 'module.', 'net_g.', 'model.', '_orig_mod.')
_HEAD = ('reduce_shallow.', 'reduce_latent.', 'spd_proj_shallow.', 'spd_proj_latent.', 'spd_heads.')
_STAGES = (
    'patch_embed.',
    'encoder_level',
    'decoder_level',
    'down1_2.',
    'down2_3.',
    'down3_4.',
    'up4_3.',
    'up3_2.',
    'up2_1.',
    'latent.',
    'reduce_dim_level3.',
    'reduce_chan_level',
    'refinement.',
    'output.',
)
_ANCHOR = 'patch_embed.proj.weight'
_LISTED = 8  # names shown of a longer list
NOTES = 'data_notes'  # entry or metadata: what figures of the weights are to be read with; mostly absent
_CHECKSUM = 'content_sha256'  # in the metadata of safetensors files that were written here


class CheckpointError(ValueError):
    """A weights file that cannot be used; the message names the file and what was found in it."""


def load_weights(path: str | Path, *, key: str | None = None, allow_pickle: bool = False) -> StateDict:
    """Read a state dict of `MIRAGEArch` from any of the usual files.

    Args:
        path: ``.safetensors``; or a torch file: the authors' Lightning ``.ckpt`` (``state_dict`` with names that
            begin with ``net.``), a BasicSR ``.pth`` (``params_ema`` or ``params``), or a flat state dict.
        key: Entry of the file to take. Without it: ``params_ema``, ``params``, ``state_dict``, or the file itself.
        allow_pickle: Unpickle arbitrary objects. That runs code from the file: only for files you trust.

    Returns:
        Tensor by name, on the CPU, without prefixes; of a part of a network, if the file holds no more.

    Raises:
        CheckpointError: The file is missing, no checkpoint, damaged (as far as its checksums tell), holds no MIRAGE
            weights, or NaN or infinity among them.
    """
    return load_entry(path, key=key, allow_pickle=allow_pickle)[0]


def load_entry(path: str | Path, *, key: str | None = None, allow_pickle: bool = False) -> tuple[StateDict, str]:
    """`load_weights`, and which entry of the file the weights are; '' for the file itself."""
    path = Path(path)
    content = _read(path, allow_pickle)
    if not isinstance(content, Mapping):
        raise CheckpointError(f'{path}: holds a {type(content).__name__}, expected a dict of tensors')
    entry, state = _select(content, key, path)
    found = _strip_prefixes(state, f'{path}, entry {entry}' if entry else str(path))
    _refuse_unusable(found, path)
    return found, entry


def convert_released_state_dict(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Names of the authors' released checkpoints (``net.encoder_level1...``) -> names of `MIRAGEArch`.

    Raises:
        CheckpointError: No MIRAGE tensor is among them.
    """
    return _strip_prefixes(state_dict, 'state dict')


def infer_arguments(state_dict: Mapping[str, Tensor]) -> dict:
    """Arguments of `MIRAGEArch` read off the names and shapes of its tensors.

    What leaves no trace in them (``drop_path_rate``, ``spd_tap``, ``checkpoint_blocks``) keeps its default.

    Raises:
        CheckpointError: Tensors that such a network needs are absent, or they are of a search for channel ratios.
    """
    if 'ratio_logits' in state_dict:
        raise CheckpointError(
            'weights of a RatioSearchArch: mirage_arch.ratio_search.export cuts the network of its ratios out of them'
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    levels = ('encoder_level1', 'encoder_level2', 'encoder_level3', 'latent')
    try:
        dim, inp_channels = shapes[_ANCHOR][:2]
        num_blocks = tuple(_count_blocks(shapes, level) for level in levels)
        widths = [_branch_widths(shapes, f'{level}.0.attn.') for level in levels]
        deepest = shapes['latent.0.ffn.project_out.weight']  # (width, hidden): the finest view of their quotient
        first = 'encoder_level1.0.attn.'
        arguments = {
            'inp_channels': inp_channels,
            'out_channels': shapes['output.weight'][0],
            'dim': dim,
            'num_blocks': num_blocks,
            'num_refinement_blocks': _count_blocks(shapes, 'refinement'),
            'heads': tuple(shapes.get(f'{level}.0.attn.temperature', (2**i,))[0] for i, level in enumerate(levels)),
            'ffn_expansion_factor': _expansion(deepest[1], deepest[0]),
            'bias': 'output.bias' in shapes,
            'branch_ratio': _ratio(widths),
            'fusion': any(name.startswith(f'{first}alpha_') for name in shapes) or sum(w > 0 for w in widths[0]) == 1,
            'dynamic_conv': f'{first}gatedcnn.static_conv.weight' not in shapes,
            **_heads(shapes),
        }
    except KeyError as error:
        raise CheckpointError(f'not the tensors of a MIRAGE network: {error.args[0]} is missing') from None
    except (IndexError, ValueError, TypeError, ZeroDivisionError) as error:
        raise CheckpointError(f'not the tensors of a MIRAGE network: {error}') from None
    if dim * dim > sum(tensor.numel() for tensor in state_dict.values()):  # building it would take all memory
        raise CheckpointError(f'not the tensors of a MIRAGE network: {_ANCHOR} is of {dim} channels, the rest of fewer')
    return arguments


def load_into(
    net: nn.Module, state_dict: Mapping[str, Tensor], source: str = 'state dict', *, new_heads: bool = False
) -> None:
    """Load weights strictly, except that SPD heads which ``net`` does not have are left out.

    Args:
        net: Network to load into.
        state_dict: Tensor by name.
        source: What an error calls them.
        new_heads: Leave the SPD heads of ``net`` as they are where the weights have none.

    Raises:
        CheckpointError: Missing, surplus or misshapen tensors, all named; ``net`` is then unchanged.
    """
    own = net.state_dict()
    given = {name: tensor for name, tensor in state_dict.items() if name in own or not name.startswith(_HEAD)}
    if new_heads and not any(name.startswith(_HEAD) for name in given):
        given.update({name: tensor for name, tensor in own.items() if name.startswith(_HEAD)})
    missing = [name for name in own if name not in given]
    surplus = [name for name in given if name not in own]
    misshapen = [
        f'{name} {tuple(given[name].shape)} instead of {tuple(own[name].shape)}'
        for name in own
        if name in given and own[name].shape != given[name].shape
    ]
    if missing or surplus or misshapen:
        matched = len(own) - len(missing) - len(misshapen)
        lines = [f'{source}: does not fit this network ({matched} of its {len(own)} tensors match)']
        lines += [
            f'  {label} ({len(names)}): {_shorten(names)}'
            for label, names in (('missing', missing), ('surplus', surplus), ('misshapen', misshapen))
            if names
        ]
        raise CheckpointError('\n'.join(lines))
    net.load_state_dict(given)


def load_network(path: str | Path, *, key: str | None = None, allow_pickle: bool = False, **arguments) -> MIRAGEArch:
    """Build the network that a weights file is for and load it, in evaluation mode.

    Args:
        path: See `load_weights`, as ``key`` and ``allow_pickle``.
        key: Entry of the file.
        allow_pickle: Trust the file.
        **arguments: Arguments of `MIRAGEArch` that override the inferred ones, such as ``spd_head=False``.
    """
    state_dict = load_weights(path, key=key, allow_pickle=allow_pickle)
    try:
        net = MIRAGEArch(**{**infer_arguments(state_dict), **arguments})
    except CheckpointError as error:
        raise CheckpointError(f'{path}: {error}') from None
    load_into(net, state_dict, str(path))
    return net.eval()


def save_weights(state_dict: Mapping[str, Tensor], path: str | Path, notes: Sequence[str] = ()) -> None:
    """Write weights for BasicSR (``.pth`` with the key ``params``) or as ``.safetensors``.

    The file appears under its name when it is whole; what was there before is lost only then.

    Args:
        state_dict: Tensor by name.
        path: The file.
        notes: Of `read_notes`.

    Raises:
        ValueError: Another file ending, or values that are NaN or infinite: no reader of ours takes them.
        OSError: It cannot be written.
    """
    path = Path(path)
    if path.suffix not in ('.pth', '.safetensors'):
        raise ValueError(f'{path}: weights are written as .pth or .safetensors, got {path.suffix!r}')
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    if name := _without_numbers(tensors):
        raise CheckpointError(f'{path}: not written: tensor {name} holds NaN or infinity (float16 ends at 65,504)')
    aside = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        if path.suffix == '.safetensors':
            # safetensors' own save_file would leave a file that only its owner reads
            said = {NOTES: json.dumps(list(notes))} if notes else {}
            aside.write_bytes(to_safetensors(tensors, said))
        else:
            with open(aside, 'wb') as file:  # of a path torch makes C++ streams, which end the process on a full disk
                torch.save({'params': tensors, **({NOTES: list(notes)} if notes else {})}, file)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def to_safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The content of a ``.safetensors`` file with a checksum, by which `read_safetensors` knows damage."""
    return serialize(dict(tensors), {_CHECKSUM: _checksum(tensors), **metadata})


def read_safetensors(path: str | Path) -> tuple[StateDict, dict[str, str]]:
    """All tensors and the metadata of a ``.safetensors`` file, whatever it is for.

    Raises:
        CheckpointError: It is missing, or damaged (files that were written here have a checksum).
    """
    if not Path(path).is_file():
        raise CheckpointError(f'{path}: no such weights file')
    try:
        with safe_open(path, 'pt') as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    except Exception as error:  # safetensors' reader: of damaged files nearly any type
        raise CheckpointError(f'{path}: cannot be read as weights: {_first_line(error)}') from error
    if metadata.get(_CHECKSUM) not in (None, _checksum(tensors)):
        raise CheckpointError(f'{path}: damaged: its checksum is not that of its tensors; copy or download it again')
    return tensors, metadata


def read_notes(path: str | Path) -> list[str]:
    """What the figures of weights are to be read with, such as that data were missing in their training.

    Empty for a file that says nothing, or cannot be read: whoever loads its weights says what is wrong with it.
    """
    try:
        if Path(path).suffix == '.safetensors':
            with safe_open(path, 'pt') as file:
                notes = json.loads((file.metadata() or {}).get(NOTES, '[]'))
        else:
            notes = torch.load(path, map_location='meta', weights_only=True).get(NOTES) or []
        return [str(note) for note in notes]
    except Exception:  # both readers raise nearly any type
        return []


def torch_file_fault(path: str | Path) -> str | None:
    """What is wrong with the zip archive that a torch file is; torch itself does not look at its checksums.

    Args:
        path: A file of `torch.save`. Those of torch before 1.6 are no archives and have no checksums.

    Returns:
        The fault in words, or None.
    """
    with open(path, 'rb') as file:
        if file.read(2) != b'PK':
            return None
    try:
        with zipfile.ZipFile(path) as content:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in content.infolist()):
                return 'its entries are compressed, so it was not written by torch'
            faulty = content.testzip()
    except Exception as error:  # zipfile reports damage by half a dozen exception types
        return f'damaged ({_first_line(error)})'
    return f'damaged: the checksum of {faulty} is wrong' if faulty else None


def _read(path: Path, allow_pickle: bool) -> object:
    if path.suffix == '.safetensors':
        return read_safetensors(path)[0]
    if not path.is_file():
        raise CheckpointError(f'{path}: no such weights file')
    try:
        _refuse_other_files(path)
        if fault := torch_file_fault(path):
            raise CheckpointError(f'{path}: {fault}; copy or download it again')
        with torch.serialization.safe_globals([argparse.Namespace]):  # Lightning keeps its arguments in one
            return torch.load(path, map_location='cpu', weights_only=not allow_pickle)
    except pickle.UnpicklingError as error:
        if 'weights_only' not in str(error) and 'Weights only' not in str(error):
            raise CheckpointError(f'{path}: not a torch file, or a damaged one ({error})') from error
        raise CheckpointError(
            f'{path}: holds objects beside tensors, and unpickling them could run code from the file. If you trust '
            f'where it comes from, allow it (allow_pickle=True, --allow-pickle), or make a file of tensors of it: '
            f'mirage-basicsr convert --allow-pickle. Torch says: {_first_line(error)}'
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # torch's reader: of damaged files nearly any type
        raise CheckpointError(f'{path}: cannot be read as weights: {_first_line(error)}') from error


def _refuse_other_files(path: Path) -> None:
    """A file that `torch.save` has not written: torch's reader would have its user trust it and unpickle it."""
    with open(path, 'rb') as file:
        head = file.read(16)
    if head[8:9] == b'{' and int.from_bytes(head[:8], 'little') < path.stat().st_size:
        raise CheckpointError(f'{path}: is a safetensors file; give it a name that ends in .safetensors')
    if not head.startswith((b'PK', b'\x80')):  # a zip archive; a pickle as torch before 1.6 made them
        raise CheckpointError(
            f'{path}: no checkpoint, neither of torch.save (a zip archive or a pickle) nor safetensors: it '
            + (f'begins with {head!r}' if head else 'is empty')
        )


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b'')
    return digest.hexdigest()


def _refuse_unusable(tensors: StateDict, path: Path) -> None:
    """Tensors that are larger than what the file stores (28 kB may unfold to gigabytes), and NaN or infinity."""
    stored, unfolded = {}, 0
    for tensor in tensors.values():
        if tensor.layout == torch.strided:
            stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        unfolded += tensor.numel() * tensor.element_size()
    if unfolded > 4 * sum(stored.values()):  # networks may share some of their tensors
        raise CheckpointError(f'{path}: its tensors unfold to {unfolded:,} bytes, it stores {sum(stored.values()):,}')
    if name := _without_numbers(tensors):
        raise CheckpointError(f'{path}: tensor {name} holds NaN or infinity: damaged, or of a training that failed')
    for name, tensor in tensors.items():
        if name.endswith('running_var') and (tensor < 0).any():
            raise CheckpointError(f'{path}: tensor {name} holds variances below 0: damaged')


def _without_numbers(tensors: Mapping[str, Tensor]) -> str | None:
    """The first tensor with a value that is no number."""
    return next((n for n, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()), None)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _select(content: Mapping, key: str | None, path: Path) -> tuple[str, Mapping]:
    if key is not None:
        if key not in content:
            raise CheckpointError(f'{path}: has no entry {key!r}; it has {_shorten(list(content))}')
        if not isinstance(content[key], Mapping):
            raise CheckpointError(
                f'{path}: its entry {key!r} is of type {type(content[key]).__name__}, expected a dict of tensors'
            )
        return key, content[key]
    for name in ('params_ema', 'params', 'state_dict'):
        if isinstance(content.get(name), Mapping):
            return name, content[name]
    if {'optimizers', 'schedulers'} <= set(content):
        raise CheckpointError(f'{path}: is a training state; the weights of a run are in its models folder')
    return '', content


def _strip_prefixes(content: Mapping, source: str) -> StateDict:
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    prefixes = {name: _known_prefix(name) for name in tensors}
    anchors = [prefix for name, prefix in prefixes.items() if name == prefix + _ANCHOR]
    ours = [prefix for name, prefix in prefixes.items() if name.startswith((*_STAGES, *_HEAD), len(prefix))]
    if not ours:
        cure = '; if one of these entries is the state dict, name it (convert --key, param_key_g)'
        raise CheckpointError(
            f'{source}: no MIRAGE weights ({_ANCHOR} is missing); it has {_shorten(list(content))}'
            + (cure if any(isinstance(value, Mapping) for value in content.values()) else '')
        )
    prefix = anchors[0] if anchors else Counter(ours).most_common(1)[0][0]
    # Names outside the prefix (a loss network's, say) belong to something else.
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _known_prefix(name: str) -> str:
    """What training frameworks have put before a name, with all its dots."""
    rest = name
    while known := next((p for p in _PREFIXES if rest.startswith(p)), None):
        rest = rest[len(known) :]
    return name[: len(name) - len(rest)]


def _shorten(names: list) -> str:
    shown = ', '.join(str(name) for name in names[:_LISTED])
    return shown + (f' and {len(names) - _LISTED} more' if len(names) > _LISTED else '') if names else 'nothing'


def _count_blocks(shapes: Mapping[str, tuple], stage: str) -> int:
    return len({name.split('.')[1] for name in shapes if name.startswith(f'{stage}.')})


def _branch_widths(shapes: Mapping[str, tuple], attn: str) -> tuple[int, int, int]:
    def width(name: str, axis: int) -> int:
        shape = shapes.get(attn + name)
        return shape[axis] if shape else 0

    return width('qkv.weight', 1), width('gatedcnn.norm.weight', 0), width('mlp.0.weight', 1)


def _heads(shapes: Mapping[str, tuple]) -> dict:
    """What tells of the contrastive heads: heads of another geometry than the published one carry its name."""
    if 'spd_heads.reduce_shallow.weight' in shapes:
        projections = ('log_euclidean', 'cholesky')
        found = [g for g in projections if f'spd_heads.{g}_shallow.weight' in shapes]
        return {'spd_head': True, 'contrast': 'spd', 'geometry': found[0] if found else 'covariance'}
    if 'reduce_shallow.weight' not in shapes:
        return {'spd_head': False}
    pooled = shapes['spd_proj_shallow.weight'][1] == shapes['reduce_shallow.weight'][0]
    return {'spd_head': True, 'contrast': 'euclidean' if pooled else 'spd'}


def _ratio(widths: list[tuple[int, int, int]]) -> tuple:
    """The simplest ratio that gives these widths: one triple of smallest whole numbers, or one for each level."""
    if not all(any(w) for w in widths):
        raise KeyError('the branches of attn')
    reduced = [tuple(w // math.gcd(*level) for w in level) for level in widths]
    return reduced[0] if len(set(reduced)) == 1 else tuple(reduced)


def _expansion(hidden: int, width: int) -> float:
    factor = hidden / width
    return factor if int(width * factor) == hidden else (hidden + 0.5) / width
