"""Pre-flight of networks and checkpoints: do the arguments fit the class, and the weights the network."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY
from torch import nn

from mirage_arch.checkpoints import CheckpointError, load_into, torch_file_fault
from mirage_ir.training.network_setup import read_entry
from mirage_ir.training.state import state_files
from mirage_losses.geodesic_similarity import DISTANCES

from .file import OptionFile, nearest_hint
from .names import check_arguments, check_rules, check_type, is_ours, registered
from .places import argument_rules

_QUOTED = re.compile(r"'(\w+)'")  # values that an error message names


def check_networks(
    options: OptionFile, model: Any, is_train: bool, resuming: bool, launcher: str
) -> dict[str, nn.Module]:
    """Checks every ``network_*`` section and the checkpoint named for it.

    Args:
        options: The option file.
        model: The model class, or None if its name is unknown.
        is_train: Training or testing.
        resuming: Whether the run goes on from a saved state; then BasicSR ignores ``pretrain_network_*``.
        launcher: 'none' for one process.

    Returns:
        The networks by section name, without memory for their weights, as far as they could be built so.
    """
    built = {}
    state = options.section('path').get('resume_state')
    sections = [name for name in options.data if str(name).startswith('network_') and options.section(name)]
    if 'network_g' not in sections and model is not None:
        options.add(('network_g',), 'missing', 'add `network_g:` with `type:` and the arguments of the network')
    for name in sections:
        architecture = check_type(options, (name,), ARCH_REGISTRY, 'network')
        if (
            architecture is None
            or not check_arguments(
                options, (name,), architecture, here=f'`network_g:` of `type: {architecture.__name__}`'
            )
            or not check_rules(options, (name,), argument_rules(architecture))
        ):
            continue
        _check_channels(options, name, architecture)
        _check_heads(options, name, architecture, model, launcher)
        _check_switches(options, architecture, model)
        _check_geometry(options, name, architecture, model)
        net = _build(options, name, architecture, _heads_for(options, architecture, model, is_train))
        if net is not None:
            built[name] = net
            _check_average(options, name, net, model)
        if not (state or resuming and _has_states(options)):
            _check_checkpoint(options, name.removeprefix('network_'), net, model)
        if name == 'network_g':
            _check_present(options, net, is_train)
    place = options.locate(state) if is_train and isinstance(state, str) else None
    holds = place is not None and (place.is_file() or any(map(state_files, (place, place / 'training_states'))))
    if place and not holds and not (resuming and _has_states(options)):  # whose newest is taken then
        options.add(
            ('path', 'resume_state'),
            f'no state in this folder: {state}' if place.is_dir() else f'no such file or folder: {state}',
            'name a file in a training_states folder or the folder of an experiment, or leave it out and use '
            '--auto_resume',
        )
    return built


def _check_channels(options: OptionFile, name: str, architecture: type) -> None:
    """Our data sets give colour pictures, grey ones as three equal channels."""
    kinds = (section.get('type') for section in options.section('datasets').values() if isinstance(section, Mapping))
    if not any(is_ours(registered(DATASET_REGISTRY, kind)) for kind in kinds):
        return
    for key in ('inp_channels', 'out_channels') if is_ours(architecture) else ():
        value = options.section(name).get(key, 3)
        if isinstance(value, int) and value != 3:
            options.add(
                (name, key),
                f'found {value}, and the data sets give pictures of 3 channels',
                'set it to 3; grey pictures are given as three equal channels',
            )


def _has_states(options: OptionFile) -> bool:
    states = options.root / 'experiments' / str(options.data.get('name')) / 'training_states'
    return bool(state_files(states))


def _check_heads(options: OptionFile, name: str, architecture: type[nn.Module], model: Any, launcher: str) -> None:
    """The SPD heads against who uses them: `MIRAGEModel` with ``spd_opt``, and nobody else."""
    head = options.section(name).get('spd_head', True)
    train = options.section('train')
    if is_ours(model) and train.get('spd_opt'):
        if 'return_embeddings' not in inspect.signature(architecture.forward).parameters:
            options.add(
                ('train', 'spd_opt'),
                f'{architecture.__name__} has no embeddings to contrast',
                'remove this loss, or use MIRAGEArch',
            )
        elif head is False:
            options.add(
                (name, 'spd_head'),
                'train:spd_opt needs the heads that this leaves out',
                'remove spd_head: false, or the loss',
            )
    unused = is_ours(architecture) and not is_ours(model) and head
    if unused and launcher != 'none' and options.data.get('find_unused_parameters') is not True:
        options.add(
            (name, 'spd_head'),
            'this model never uses the heads, and distributed training waits for them',
            'add `spd_head: false` to the network',
        )


def _check_switches(options: OptionFile, architecture: type, model: Any) -> None:
    """Switches under ``train`` that need something of the network or its weights."""
    train = options.section('train')
    if (
        is_ours(model)
        and train.get('checkpoint_blocks')
        and 'checkpoint_blocks' not in inspect.signature(architecture).parameters
    ):
        options.add(
            ('train', 'checkpoint_blocks'),
            f'{architecture.__name__} cannot recompute its blocks',
            'remove it, or use MIRAGEArch',
        )
    if is_ours(model) and train.get('freeze_bn') and not options.section('path').get('pretrain_network_g'):
        options.add(
            ('train', 'freeze_bn'),
            'a network without weights has no batch norm statistics to keep',
            'name the weights to begin with in path:pretrain_network_g, or remove it',
        )


def _check_geometry(options: OptionFile, name: str, architecture: type, model: Any) -> None:
    """Covariances are compared by geodesic distance and vectors by cosine, never crosswise."""
    loss = options.section('train', 'spd_opt')
    if (
        not is_ours(model)
        or loss.get('type') != 'SPDContrastiveLoss'
        or 'geometry' not in inspect.signature(architecture).parameters
    ):
        return
    geometry = options.section(name).get('geometry', 'vectorised')
    similarity = loss.get('similarity', 'cosine')
    if similarity in DISTANCES and geometry != 'covariance':
        options.add(
            ('train', 'spd_opt', 'similarity'),
            f'{similarity} compares covariances, and {name}:geometry is {geometry}, which gives vectors',
            f'set {name}:geometry: covariance, or similarity: cosine',
        )
    elif similarity == 'cosine' and geometry == 'covariance':
        options.add(
            (name, 'geometry'),
            'covariance gives matrices, and train:spd_opt:similarity is cosine, which compares vectors',
            f'set similarity to {" or ".join(DISTANCES)}, or geometry to one of vectors',
        )


def _check_average(options: OptionFile, name: str, net: nn.Module, model: Any) -> None:
    """BasicSR's own models average parameters only: batch norm would be evaluated with statistics never updated."""
    has_statistics = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules())
    if name == 'network_g' and is_ours(net) and not is_ours(model) and has_statistics:
        decay = options.section('train').get('ema_decay')
        if isinstance(decay, (int, float)) and decay > 0:
            label = options.data.get('model_type')
            options.add(
                ('train', 'ema_decay'),
                f'{label} averages parameters and not the batch norm statistics of '
                f'{type(net).__name__}: its average would be tested with statistics that never changed',
                'set ema_decay: 0, or model_type: MIRAGEModel, which averages both',
            )


def _heads_for(options: OptionFile, architecture: type, model: Any, is_train: bool) -> dict[str, bool]:
    """The argument that `MIRAGEModel` sets by itself: heads only where something trains them."""
    if is_ours(model) and is_ours(architecture):
        return {'spd_head': is_train and bool(options.section('train').get('spd_opt'))}
    return {}


def _build(options: OptionFile, name: str, architecture: type, added: Mapping[str, Any]) -> nn.Module | None:
    """Builds a network on PyTorch's meta device, where tensors have shapes only."""
    arguments = {key: value for key, value in options.section(name).items() if key != 'type'}
    silent = contextlib.redirect_stdout(io.StringIO())  # some constructors of BasicSR print
    try:
        with silent, torch.random.fork_rng(devices=[]), torch.device('meta'):
            return architecture(**{**arguments, **added})
    except Exception as error:  # whatever a constructor objects to
        if is_ours(architecture):
            named = sorted((str(error).index(key), key) for key in arguments if key in str(error))
            culprit = [key for _, key in named[:1]]
            misspelt = [arguments[key] for key in culprit if isinstance(arguments[key], str)]
            allowed = set(_QUOTED.findall(str(error))) - set(misspelt)
            options.add(
                (name, *culprit),
                str(error),
                ''.join(nearest_hint(word, allowed) for word in misspelt) or 'choose values that fit together',
            )
    return None  # other projects' networks may need files or real tensors to be built: no verdict on them


def _check_present(options: OptionFile, net: nn.Module | None, is_train: bool) -> None:
    """Weights to test, and weights under a name that nothing reads any more."""
    path, section = options.section('path'), options.section('network_g')
    if path.get('pretrain_network_g'):
        return
    start = 'training would begin with' if is_train else 'the test would measure a network of'
    if isinstance(path.get('pretrain_model_g'), str):
        options.add(
            ('path', 'pretrain_model_g'),
            f'nothing reads this key since BasicSR 1.2: {start} random weights',
            'it is called `pretrain_network_g` here',
        )
    elif not is_train:
        texts = [value for value in section.values() if isinstance(value, str)]
        own_files = any(text.endswith(('.pth', '.pt', '.ckpt')) for text in texts)
        if own_files or net is not None and not any(True for _ in net.parameters()):
            return  # there is nothing to load, or the network loads it by itself
        options.add(
            ('path', 'pretrain_network_g'),
            f'no weights: {start} random weights',
            'name the weights to test: `pretrain_network_g: experiments/NAME/models/net_g_latest.pth`',
        )


def _check_checkpoint(options: OptionFile, suffix: str, net: nn.Module | None, model: Any) -> None:
    key = ('path', f'pretrain_network_{suffix}')
    value = options.section('path').get(key[1])
    if not isinstance(value, str):
        return
    path = options.locate(value)
    if not path.is_file():
        there = sorted(p.name for p in path.parent.iterdir() if p.suffix == path.suffix) if path.parent.is_dir() else []
        options.add(
            key,
            f'no such file: {value}',
            f'that folder has {", ".join(there[:8])}' if there else 'give the path of a weights file, or ~ for none',
        )
        return
    if net is None:
        return
    param_key = options.section('path').get(f'param_key_{suffix}', 'params')
    strict = options.section('path').get(f'strict_load_{suffix}', True)
    if not (is_ours(net) and is_ours(model)):
        fault = _basicsr_fault(path, net, param_key, strict)
        if fault:
            options.add(key, *fault)
        return
    try:
        weights = read_entry(str(path), param_key)[0]
        own = net.state_dict()
        if strict:
            load_into(net.to_empty(device='cpu'), weights, value)
        elif not any(name in own and own[name].shape == tensor.shape for name, tensor in weights.items()):
            raise CheckpointError(f'{value}: no tensor fits this network by name and shape')
    except CheckpointError as error:
        options.add(key, str(error), 'choose the weights of this network, or the network of these weights')


def _basicsr_fault(path: Path, net: nn.Module, param_key: str, strict: bool) -> tuple[str, str] | None:
    """What BasicSR's own loader will object to, with the cure; None if nothing."""
    if fault := torch_file_fault(path):
        return f'{path} cannot be read: {fault}', 'download or copy the file again'
    try:
        content = torch.load(path, map_location='meta', weights_only=True)
    except Exception as error:  # torch reports damaged files by a dozen exception types
        return f'{path} cannot be read: {str(error).splitlines()[0]}', 'download or copy the file again'
    if not isinstance(content, Mapping):
        return f'{path} holds a {type(content).__name__}, no state dict', 'choose a file of weights'
    found = content.get(param_key, content.get('params'))
    if not isinstance(found, Mapping):
        return (
            f'{path} has no entry {param_key!r}; it has {", ".join(map(str, list(content)[:6]))}',
            'set `param_key_g` to one of its entries, or convert the file: mirage-basicsr convert',
        )
    given = {name.removeprefix('module.'): tensor.shape for name, tensor in found.items() if hasattr(tensor, 'shape')}
    own = {name: tensor.shape for name, tensor in net.state_dict().items()}
    fitting = [name for name in own if given.get(name) == own[name]]
    if not fitting:
        return f'{path} has none of the tensors of {type(net).__name__}', 'choose the weights of this network'
    wrong = sorted(own.keys() ^ given.keys() | {n for n in own.keys() & given.keys() if own[n] != given[n]})
    if strict and wrong:
        return (
            f'{path} does not fit {type(net).__name__}: {len(wrong)} tensors are missing, surplus or of another '
            f'shape, such as {", ".join(wrong[:3])}',
            'correct the arguments of the network, or the path',
        )
    return None
