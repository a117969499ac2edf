"""What one training run adds to BasicSR's loop: the sample stream, resuming, locking and orderly stops."""

import os
import signal
import sys
import time
import types
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import torch
from basicsr.utils import get_root_logger, set_random_seed
from basicsr.utils.registry import MODEL_REGISTRY

from mirage_arch.checkpoints import CheckpointError
from mirage_data.datasets.base import SampleError
from mirage_data.datasets.sample import EpochSampler, collate_samples
from mirage_ir.measuring.protocols import settle_crops
from mirage_ir.measuring.report import read_csv
from mirage_restore.machine import available_bytes

from .command_line import CommandLine, resolve_all
from .diagnostics import ProgressLogger
from .guards import RunLock, StopSignal
from .network_setup import network_options
from .precision import CUDAPrefetcher
from .ranks import RunError, gather_on_rank_zero, rank_zero_decides
from .resume import count_samples, load_resume_state, recorded, set_aside_later, take_up_changes
from .selection import training_notes, write_training_data
from .state import TrainingStateMixin, state_files
from .validation import ValidationError, ValidationMixin, ValidationStoppedError
from .watching import is_true, readable, tell_memory_need

_COMPILING_STEPS = 3  # in which a compiled network still compiles: the first, and the first after its optimizer's


class TrainingRun:
    """What one run adds to BasicSR's training loop.

    Args:
        pipeline: The module ``basicsr.train``.
        root: The project's root folder.
        stop: Tells when to stop.
        command: What was asked for.
    """

    _MessageLogger = ProgressLogger

    def __init__(self, pipeline: ModuleType, root: str, stop: StopSignal, command: CommandLine):
        self._basicsr = {name: getattr(pipeline, name) for name in self.replacements()}
        self._root = root
        self._stop = stop
        self._command = command
        self._fresh = command.fresh
        self._state: dict | None = None
        self._sampler: EpochSampler  # from when the loaders are made
        self._train_generator = torch.Generator()
        self._train_set = None
        self._val_loaders: list = []
        self._tb_logger = None
        self._model: Any = None
        self._prefetcher = None
        self._lock: RunLock | None = None
        self._seed_was_drawn = False
        self._iteration = 0
        self._recorded = ''
        self._data_notes: list[str] = []
        self.opt: dict = {}

    def replacements(self) -> dict[str, Any]:
        """Return the names of ``basicsr.train`` that this run replaces, with what stands in for them."""
        names = (
            'parse_options',
            'load_resume_state',
            'copy_opt_file',
            'dict2str',
            'init_tb_logger',
            'init_tb_loggers',
            'create_train_val_dataloader',
            'EnlargedSampler',
            'build_dataloader',
            'build_model',
            'CPUPrefetcher',
            'CUDAPrefetcher',
            'MessageLogger',
        )
        return {name: getattr(self, '_' + name) for name in names}

    def _parse_options(self, root: str, is_train: bool) -> tuple[dict, Any]:
        """Parse, agree on one seed for all ranks, make paths independent of the current directory, lock the run."""
        opt, args = self._basicsr['parse_options'](root, is_train=is_train)
        self.opt = opt
        self._seed_was_drawn = not self._command.names_seed()
        self._recorded = recorded({**opt, 'manual_seed': None} if self._seed_was_drawn else opt)
        opt['logger'].setdefault('use_tb_logger', False)  # BasicSR takes it for given
        resolve_all(opt, root)
        self._command.select(opt)
        settle_crops(opt)
        if self._fresh:
            opt['path']['resume_state'] = None
        # without manual_seed each rank has drawn its own, and a forced one comes too late for BasicSR's generators
        opt['manual_seed'] = rank_zero_decides(lambda: opt['manual_seed'])
        set_random_seed(opt['manual_seed'] + opt['rank'])
        rank_zero_decides(self._claim_folders)
        return opt, args

    def _claim_folders(self) -> None:
        folder = self.opt['path']['experiments_root']
        self._lock = RunLock(folder)
        self._lock.acquire()
        for path in (folder, os.path.join(self._root, 'tb_logger')):
            if os.path.exists(path) and not os.access(path, os.W_OK | os.X_OK):
                raise RunError(f'{path} is read-only for this user: give it write permission, or change `name:`.')

    def _load_resume_state(self, opt: dict) -> dict | None:
        if opt.get('deterministic'):
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
            torch.backends.cudnn.benchmark = False
            torch.use_deterministic_algorithms(True, warn_only=True)
        self._state = state = load_resume_state(opt)
        if state is None:
            rank_zero_decides(self._announce_archiving)
            return None
        if self._seed_was_drawn and 'manual_seed' in state:
            opt['manual_seed'] = state['manual_seed']
        rank_zero_decides(self._make_folders)
        self._iteration = state['iter']
        return state

    def _announce_archiving(self) -> None:
        states = state_files(self.opt['path']['training_states'])
        if self.opt['auto_resume'] and not states and os.path.isdir(self.opt['path']['experiments_root']):
            print(
                f'{self.opt["path"]["experiments_root"]} holds no state to go on from: the run ended before the first '
                'was saved (logger: save_checkpoint_freq). It starts at 0; the folder is kept under another name.',
                flush=True,
            )
        if states and not self._fresh:
            print(
                f'This starts the run over; its earlier part, up to {os.path.basename(states[0])}, is kept under '
                'another name. To continue it instead, start with --auto_resume.',
                flush=True,
            )

    def _make_folders(self) -> None:
        """Make the folders of a run that continues under a new name."""
        for key in ('experiments_root', 'models', 'training_states', 'visualization'):
            os.makedirs(self.opt['path'][key], exist_ok=True)

    def _copy_opt_file(self, opt_file: str, folder: str) -> None:
        """Keep the options in effect with the run: those of the command line and a seed that was drawn are there."""
        if self.opt['rank'] == 0:
            self._command.keep_options(folder, self.opt['manual_seed'] if self._seed_was_drawn else None)

    _dict2str = staticmethod(readable)

    def _init_tb_logger(self, log_dir: str):
        """Open TensorBoard's log on rank 0; points behind the resumed iteration are written again, so it hides them."""
        if self.opt['rank'] != 0:
            return None
        from torch.utils.tensorboard import SummaryWriter  # an import of seconds that most runs can do without

        return SummaryWriter(log_dir, purge_step=self._iteration + 1 if self._state else None)

    def _init_tb_loggers(self, opt: dict):
        try:
            self._tb_logger = self._basicsr['init_tb_loggers'](opt)
        except RuntimeError as error:  # wandb's refusal, with its cure
            raise RunError(str(error)) from error
        return self._tb_logger

    def _create_train_val_dataloader(self, opt: dict, logger) -> tuple:
        train_opt = opt['datasets']['train']
        train_opt.setdefault('manual_seed', opt['manual_seed'])
        if train_opt.get('prefetch_mode') == 'cuda':
            train_opt['pin_memory'] = True  # BasicSR asks for it, and it is what makes the copies overlap
        result = self._basicsr['create_train_val_dataloader'](opt, logger)
        self._val_loaders = result[2]
        return result

    def _EnlargedSampler(self, dataset, replicas: int, rank: int, ratio: float) -> EpochSampler:  # noqa: N802
        """Make the sampler of the sample stream, starting behind what a resumed run has seen."""
        opt = self.opt
        # DataParallel: BasicSR counts iterations by the batch of one GPU and loads one for each of them
        copies = 1 if opt['dist'] else max(opt['num_gpu'], 1)
        batch = opt['datasets']['train']['batch_size_per_gpu'] * copies
        iteration = self._iteration
        sample = (self._state or {}).get('samples_seen', iteration * batch * replicas)
        self._sampler = sampler = _Sampler(
            dataset,
            replicas,
            rank,
            ratio * copies,
            seed=opt['manual_seed'],
            batch_size=batch,
            start_sample=sample,
            offset=sample - iteration * batch * replicas,
        )
        sampler.generator = self._train_generator
        opt['sample_stream'] = {'iter': iteration, 'sample': sample, 'batch': batch * replicas}
        if self._state is not None:  # another batch size has other epochs
            self._state['epoch'] = iteration * batch * replicas // self._sampler.total_size
        return sampler

    def _build_dataloader(self, dataset, dataset_opt: dict, **kwargs):
        """Give each loader a generator: making an iterator would otherwise draw from the global random stream.

        Without a GPU ``pin_memory`` does nothing but warn, so it is left out. Training batches travel as bytes where
        the model takes them so.
        """
        pinned = bool(dataset_opt.get('pin_memory')) and self.opt['num_gpu'] > 0
        loader = self._basicsr['build_dataloader'](dataset, {**dataset_opt, 'pin_memory': pinned}, **kwargs)
        training = dataset_opt['phase'] == 'train'
        if training:
            self._train_set = dataset
            self._data_notes = training_notes(self.opt, dataset, self._state)
            if self.opt['rank'] == 0:
                write_training_data(self.opt, dataset, self._data_notes)
            feed_data = MODEL_REGISTRY.get(self.opt['model_type']).feed_data
            if getattr(feed_data, 'takes_bytes', False) and hasattr(dataset, 'use_bytes'):
                dataset.use_bytes()
                loader.collate_fn = collate_samples
        loader.generator = self._train_generator if training else torch.Generator().manual_seed(0)
        return loader

    def _build_model(self, opt: dict):
        """Build the model and watch its iterations; BasicSR's own models get our way of saving, too."""
        ours = issubclass(MODEL_REGISTRY.get(opt['model_type']), ValidationMixin)
        if ours:
            get_root_logger().addFilter(is_true)
            device = torch.device('cuda' if opt['num_gpu'] else 'cpu')
            if opt['rank'] == 0:
                tell_memory_need(opt, network_options(opt), available_bytes(device))
        try:
            model = self._basicsr['build_model'](opt)
        except CheckpointError as error:
            whose = (
                f'\nThese are the weights of the state {opt["path"]["resume_state"]}: network_g must be as it was then.'
            )
            raise RunError(f'{error}{whose if self._state else ""}') from error
        model.recorded_options = self._recorded
        model.recorded_samples = count_samples(self._train_set)
        model.data_notes = self._data_notes
        if not isinstance(model, TrainingStateMixin):
            for name in ('save_network', 'save_training_state', 'resume_training'):
                setattr(model, name, types.MethodType(getattr(TrainingStateMixin, name), model))
        self._watch_steps(model, bool(opt['train'].get('compile')))
        self._save_with_state(model)
        if ours:
            self._let_validations_stop(model)
        self._take_up(model)
        self._model = model
        return model

    def _watch_steps(self, model: Any, compiled: bool) -> None:
        """Count the iterations of a model, and say what is behind an error that torch raises in the middle of one."""
        optimize, first = model.optimize_parameters, self._iteration

        def optimize_parameters(current_iter: int) -> None:
            # the first steps compile; what they take is theirs, so none is watched beyond them
            self._stop.compiling(now=compiled and current_iter - first <= _COMPILING_STEPS)
            try:
                optimize(current_iter)
            except RunError:
                raise
            except RuntimeError as error:  # torch tells of a dead worker wherever the program happens to be
                self._explain_dead_worker(error)
                raise
            finally:
                self._stop.compiling(now=False)
            self._iteration = current_iter

        model.optimize_parameters = optimize_parameters

    def _save_with_state(self, model: Any) -> None:
        """Save a state with the final weights, too."""
        save = model.save

        def save_with_state(epoch: int, current_iter: int) -> None:
            if current_iter == -1 and not self._has_state(self._iteration):
                save(self._sampler.epoch, self._iteration)  # else --auto_resume would find an older one, or none
            save(epoch, current_iter)

        model.save = save_with_state

    def _let_validations_stop(self, model: Any) -> None:
        """End a validation of our model at a stop signal, without figures then; and a run whose validation fails."""
        validate = model.validation

        def validation(*arguments, **options) -> None:
            try:
                validate(*arguments, **options)
            except ValidationStoppedError as error:
                print(f'{error}; it is made up for when the run goes on.', file=sys.stderr, flush=True)
            except ValidationError as error:
                if not self.opt['dist'] and not self._has_state(self._iteration):  # ranks would wait for one another
                    model.save(self._sampler.epoch, self._iteration)
                raise RunError(
                    f'The run stops after iteration {self._iteration:,}, in a validation.\n{error}\n{self.hint()}'
                ) from error

        model.validation = validation
        # ranks would wait for one another
        model.stop_asked = lambda: self._stop.pending and not self.opt['dist']

    def _take_up(self, model: Any) -> None:
        """After a model has resumed, tell which options have changed, and make up for a validation."""
        resume, iteration = model.resume_training, self._iteration

        def resume_training(state: dict) -> None:
            rank_zero_decides(self._read_figures)
            resume(state)
            take_up_changes(model, state, self.opt['datasets'])
            if aside := rank_zero_decides(lambda: set_aside_later(self.opt['path'], iteration)):
                get_root_logger().warning(f'Later states, which this run leaves behind, are now in {aside}')
            if iteration == self.opt['train']['total_iter']:
                get_root_logger().info(f'All {iteration:,} iterations are done: nothing is left to train.')
            self._validate_if_due(iteration)

        model.resume_training = resume_training

    def _read_figures(self) -> None:
        """Meet a damaged table of earlier figures before training goes on, not at the next validation."""
        try:
            read_csv(os.path.join(self.opt['path']['experiments_root'], 'validation.csv'))
        except ValueError as error:
            raise RunError(str(error)) from error

    def _validate_if_due(self, iteration: int) -> None:
        """Repeat the validation that BasicSR does after saving, and that a kill may have prevented."""
        val = self.opt.get('val')
        if val and iteration % val['val_freq'] == 0:
            for loader in self._val_loaders:
                self._model.validation(loader, iteration, self._tb_logger, val['save_img'])

    def _CPUPrefetcher(self, loader):  # noqa: N802
        return self._stoppable(self._basicsr['CPUPrefetcher'](loader))

    def _CUDAPrefetcher(self, loader, opt: dict):  # noqa: N802
        if opt['num_gpu'] == 0:
            get_root_logger().info('prefetch_mode: cuda has nothing to do without a GPU')
            return self._CPUPrefetcher(loader)
        return self._stoppable(CUDAPrefetcher(loader, torch.device('cuda', torch.cuda.current_device())))

    def _stoppable(self, prefetcher):
        """Ask for a stop signal before each batch: the one place between two iterations."""
        self._prefetcher = prefetcher
        following, start_epoch = prefetcher.next, prefetcher.reset
        self._stop.arm()

        def next_batch() -> dict | None:
            number = self._stop.received()
            if number:
                self._save_and_leave(number)
            return self._explained(following)

        prefetcher.next = next_batch
        prefetcher.reset = lambda: self._explained(start_epoch)  # the one for GPUs loads a batch here
        return prefetcher

    def _explained(self, load: Callable[[], dict | None]) -> dict | None:
        """Load a batch; say what is behind a failure, if it is an expected one."""
        try:
            return load()
        except SampleError as error:
            # a worker's error arrives with its traceback, whose last line is the message
            message = str(error).rpartition(f'{SampleError.__name__}: ')[2].strip()
            raise RunError(
                f'The run stops after iteration {self._iteration:,}: a training sample cannot be made.\n{message}\n'
                f'To leave such files out (counted and logged), set on_error: skip in datasets: train.\n{self.hint()}'
            ) from error
        except (RuntimeError, OSError, EOFError) as error:
            self._explain_dead_worker(error, patience=1.0)
            raise

    def _explain_dead_worker(self, error: Exception, patience: float = 0.0) -> None:
        """Name a killed worker, whose death shows in many ways; a lost connection a moment before its exit code."""
        workers = getattr(self._iterator(), '_workers', [])
        deadline = time.monotonic() + patience
        with suppress(RuntimeError):  # torch's handler of SIGCHLD raises it right here
            while time.monotonic() < deadline and all(worker.exitcode is None for worker in workers):
                time.sleep(0.01)
        for worker in workers:
            if worker.exitcode not in (None, 0):
                raise RunError(
                    f'A DataLoader worker (process {worker.pid}) ended with {worker.exitcode}. -9 means that it was '
                    'killed, mostly because memory ran out: lower num_worker_per_gpu, or give the job more memory.\n'
                    + self.hint()
                ) from error

    def _iterator(self):
        """Return the iterator behind the prefetcher, and behind BasicSR's prefetching thread."""
        iterator = getattr(self._prefetcher, 'loader', None)
        return getattr(iterator, 'generator', iterator)

    def _save_and_leave(self, signal_number: int) -> None:
        total = self.opt['train']['total_iter']
        path = self._state_path(self._iteration)
        if not self._has_state(self._iteration):
            self._model.save(self._sampler.epoch, self._iteration)
        if self.opt['rank'] == 0:
            name = signal.Signals(signal_number).name
            end = f'; saved {path}.\nTo go on, give the same command with --auto_resume.' if self._iteration else ''
            message = f'Stopped by {name} after iteration {self._iteration:,} of {total:,}{end}'
            print(message, file=sys.stderr, flush=True)
        raise SystemExit(128 + signal_number)

    def _state_path(self, iteration: int) -> str:
        return os.path.join(self.opt['path']['training_states'], f'{iteration}.state')

    def _has_state(self, iteration: int) -> bool:
        """Whether the state of an iteration is there, or there is nothing to save yet; every rank must ask."""
        return iteration == 0 or rank_zero_decides(lambda: os.path.exists(self._state_path(iteration)))

    def report_skipped(self) -> None:
        """Say at the end of a run how many broken samples were replaced; every rank must call it."""
        counts = gather_on_rank_zero(getattr(self._train_set, 'skipped', 0))
        if counts and sum(counts):
            get_root_logger().warning(
                f'{sum(counts):,} broken training samples were replaced since this start; each is logged above, or '
                'in the output of its rank. `mirage-basicsr check-data` finds such files.'
            )

    def close(self) -> None:
        """End the DataLoader workers, which would outlast a SIGTERM, and give the run's name free."""
        iterator = self._iterator()
        if hasattr(iterator, '_shutdown_workers'):
            iterator._shutdown_workers()
        if self._lock:
            self._lock.release()

    def hint(self) -> str:
        """Say what is left of a run that failed."""
        folder = self.opt.get('path', {}).get('training_states')
        states = state_files(folder) if folder else []
        if not states:
            return ''
        return f'The last complete state is {states[0]}. To go on from it, give the same command with --auto_resume.'


class _Sampler(EpochSampler):
    """Our sampler, which also gives the workers of every epoch their own seeds, whenever the run was resumed."""

    generator: torch.Generator

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.generator.manual_seed(((self.seed * 1_000_003 + epoch) * 65_537 + self.rank) % 2**63)
