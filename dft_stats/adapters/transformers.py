"""The loss in a Hugging Face `Trainer` or the `SFTTrainer` of TRL: `attach(trainer, loss)` before `trainer.train()`.

Proven by tests on transformers 5.24 and TRL 1.16, one process and two (gloo, CPU). DeepSpeed, FSDP, GPUs: by the Trainer's rules, untried.
"""

import math
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from numbers import Real
from pathlib import Path
from typing import Any, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor

try:
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint
except ImportError as error:
    raise ImportError("dft_stats.adapters.transformers needs transformers and accelerate: pip install 'dft-stats[transformers]'") from error

from dft_stats.adapters.hidden_states import Caught, caught, check_head
from dft_stats.adapters.settings import LossSettings
from dft_stats.errors import CompiledProfileError, VocabularyMismatch
from dft_stats.loss import TERMS, Batch, DistributionLoss, through_head
from dft_stats.loss.batch import LogitsMissing, logits_of
from dft_stats.token_table import token_table
from dft_stats.tokenizer import fingerprint, resolve, special_ids, surfaces

STATE_FILE = "distribution_loss.pt"
"""Name of the loss's state in a checkpoint."""
NAMES = (*(f"dist/{term}" for term in TERMS), "dist/loss")


def attach(trainer: Any, loss: DistributionLoss | LossSettings, *, weight: float | None = None) -> Any:
    """Add `weight` times the loss to whatever the trainer computes, and keep the loss's books.

    The trainer's own loss stays what it was (the model's, `compute_loss_func`, label smoothing); with weight 0 training is the same
    to the bit and the components are still logged. `num_items_in_batch` and the number of processes scale both alike, so the gradient
    does not depend on how a step is cut. The optimizer step closes the loss's step: its `accumulation_steps` is set to 0.

    * Log: `dist/<term>` and `dist/loss` (before `weight`), means over the optimizer steps since the last log, reach all reporters.
    * Evaluation and prediction change no state and add nothing to `eval_loss`; `eval_dist/<term>` are means over the batches.
    * Checkpoint: `distribution_loss.pt` beside the optimizer's state, read again by `train(resume_from_checkpoint=...)`.
    * Documents begin where `position_ids` are 0, where `cu_seq_lens_q` says so, and where `attention_mask` changes; its zeros are never
      counted. Batches packed without any of these are told apart by special tokens alone.

    Args:
        trainer: a `transformers.Trainer` of a causal language model, or a `trl.SFTTrainer`, which builds no logits: there the loss is
            taken from the hidden states of the same forward, through the head.
        loss: for the profile, compiled for the model's tokenizer, and the temperature at which the model will write; or settings, and the
            tokenizer is the trainer's `processing_class`.
        weight: of the loss beside the trainer's own, at least 0. None: that of the settings, beside a loss 0.1.

    Returns:
        The trainer.

    Raises:
        TypeError: another trainer, model or loss than this is made for.
        VocabularyMismatch: the loss was compiled for another tokenizer than the trainer's `processing_class`.
        ValueError: a setting that cannot be right, such as two losses, `nn.DataParallel`, or tensor and sequence parallelism; or a
            model for an SFTTrainer whose logits are not its head's, as far as its configuration says.
        LogitsMissing: in training, when the model gives no logits, as with Liger's fused cross entropy, or some without a gradient.
    """
    if isinstance(loss, LossSettings):
        weight, loss = loss.weight if weight is None else weight, loss.loss(_tokenizer(trainer))
    weight = 0.1 if weight is None else weight
    _check(trainer, loss, weight)
    _check_tokenizer(trainer, loss)
    callback = DistributionLossCallback(loss, weight)
    plain = {name: getattr(trainer, name) for name in ("compute_loss", "evaluation_loop", "log", "save_model", "train")}

    headless = _is_of_trl(trainer)  # it never builds logits
    if headless:
        check_head(trainer.model)

    def compute_loss(model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        given = dict(inputs)  # the trainer takes the labels out
        batch = callback.read(given)  # while the device has nothing else to do
        ask = return_outputs if headless else True  # outputs with logits cost TRL a second forward
        with caught(trainer.accelerator.unwrap_model(model)) if headless else nullcontext() as found:
            result = plain["compute_loss"](model, inputs, return_outputs=ask, num_items_in_batch=num_items_in_batch)
        if ask and isinstance(result, Tensor):
            raise LogitsMissing(
                f"`compute_loss` of {type(trainer).__name__} was asked for its outputs (`return_outputs=True`) and gave a loss alone, so"
                " that there are no logits to read; let it return (loss, outputs) then"
            )
        value, outputs = (result, None) if isinstance(result, Tensor) else result
        predictions = _predictions(outputs if found is None else found)
        virtual = _virtual_tokens(trainer.accelerator.unwrap_model(model))
        if virtual and isinstance(predictions, Tensor):
            predictions = predictions[:, virtual:]
        if isinstance(predictions, Tensor) and predictions.device != batch.labelled.device:  # of a model that is spread over devices
            batch = callback.read({name: v.to(predictions.device) if isinstance(v, Tensor) else v for name, v in given.items()})
        if model.training and torch.is_grad_enabled():
            value = callback.add(value, predictions, found, batch, *_scale(trainer, num_items_in_batch))
        else:
            callback.measure(predictions, found, batch)
        return (value, outputs) if return_outputs else value

    def evaluation_loop(
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        callback.evaluation.clear()
        output = plain["evaluation_loop"](dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        total = torch.stack([torch.zeros(len(NAMES)), *(row.cpu() for row in callback.evaluation)]).sum(0).tolist()
        *sums, batches = _mean_over_ranks(torch.tensor([*total, len(callback.evaluation)], device=trainer.args.device)).tolist()
        if batches:
            output.metrics.update({f"{metric_key_prefix}_{name}": value / batches for name, value in zip(NAMES, sums, strict=True)})
        return output

    def log(logs: dict[str, float], *rest: Any, **named: Any) -> None:  # callbacks see logs too late to add to them
        if "loss" in logs:
            logs.update(callback.since_last_log())
        plain["log"](logs, *rest, **named)

    def train(resume_from_checkpoint: Any = None, *rest: Any, **named: Any) -> Any:
        latest = resume_from_checkpoint is True
        callback.checkpoint = get_last_checkpoint(trainer.args.output_dir) if latest else resume_from_checkpoint or None
        return plain["train"](resume_from_checkpoint, *rest, **named)

    def save_model(output_dir: str | None = None, _internal_call: bool = False) -> None:
        plain["save_model"](output_dir, _internal_call)
        folder = Path(output_dir or "")  # of a checkpoint: here, since afterwards it may be on its way to the Hub
        is_checkpoint = _internal_call and folder.name.startswith(f"{PREFIX_CHECKPOINT_DIR}-")
        if is_checkpoint and trainer.args.should_save and not trainer.args.save_only_model:
            callback.save(folder)

    vars(trainer).update(compute_loss=compute_loss, evaluation_loop=evaluation_loop, log=log, train=train, save_model=save_model)
    trainer.add_callback(callback)
    return trainer


class DistributionLossCallback(TrainerCallback):  # type: ignore[misc]
    """What an attached loss does at the events of training: close steps, save, resume."""

    def __init__(self, loss: DistributionLoss, weight: float) -> None:
        self.loss, self.weight = loss, weight
        loss.accumulation_steps = 0
        self.checkpoint: Any = None  # folder, as given to `train`
        self.window: list[Tensor] = []  # components of the micro-batches since the last optimizer step, (len(NAMES),) each
        self.evaluation: list[Tensor] = []
        self.total, self.steps = torch.zeros(len(NAMES)), 0  # since the last log

    def add(self, value: Tensor, predictions: Any, head: Caught | None, batch: Batch, num_items: Any, scale: float, shares: int) -> Tensor:
        """The trainer's loss of a micro-batch plus the weighted one, which counts `scale` times now and `1 / shares` of that in the end.

        Args:
            value: the trainer's own.
            predictions: hidden states if there is a head, else logits, [B, T, ...].
            head: that makes logits of them.
            batch: that they are of.
            num_items: in the step.
            scale: see above.
            shares: see above.
        """
        own, components = self._of(predictions, head, batch, detach=self.weight == 0, num_items=num_items)
        if self.weight and not (predictions.requires_grad if head is None else head.trains()):
            raise LogitsMissing(
                "no gradient of the loss reaches the model: the logits or hidden states that `compute_loss` leaves were made without one,"
                " as under `torch.no_grad()` for metrics. Let it return the outputs of the forward that is trained; or give weight=0, to"
                " measure alone"
            )
        components["dist/loss"] = components["dist/loss"] * (scale / shares)
        self.window.append(torch.stack([components[name] for name in NAMES]))
        return value if self.weight == 0 else value + (self.weight * scale) * own.to(value.device)

    @torch.no_grad()
    def measure(self, predictions: Any, head: Caught | None, batch: Batch) -> None:
        """Components of an evaluation batch; no state changes."""
        _, components = self._of(predictions, head, batch, detach=True)
        self.evaluation.append(torch.stack([components[name] for name in NAMES]))

    def since_last_log(self) -> dict[str, float]:
        """Means over optimizer steps; none if there was no step."""
        means = dict(zip(NAMES, (self.total / max(self.steps, 1)).tolist(), strict=True)) if self.steps else {}
        self.total, self.steps = torch.zeros_like(self.total), 0
        return means

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take up the state of the checkpoint that training resumes from."""
        if state.is_hyper_param_search:
            raise ValueError("one loss cannot serve a hyperparameter search, whose trials start anew; make trainer and loss for each trial")
        self.loss.to(args.device).train()
        if self.checkpoint is None and not state.global_step and self.loss.commits > 0:
            warnings.warn(
                f"this loss has {int(self.loss.commits)} optimizer steps behind it, and training begins anew: its running rates, warm-up"
                " and dual variables go on from there. Make a new loss for another run",
                stacklevel=2,
            )
        if self.checkpoint is not None:
            path = Path(self.checkpoint) / STATE_FILE
            if path.is_file():
                self.loss.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
            else:
                warnings.warn(
                    f"{path} is missing: the running rates of the distribution loss start anew, and training does not go on exactly as"
                    " it would have; that is to be expected if the loss was not attached when the checkpoint was saved",
                    stacklevel=2,
                )
        self.loss.step()  # what a broken-off accumulation left
        self.window.clear()
        self.total, self.steps = torch.zeros(len(NAMES), device=args.device), 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close an optimizer step, whole or the shorter last one of an epoch. Every rank is here."""
        if not self.window:
            raise RuntimeError("an optimizer step ended without `compute_loss`; this trainer cannot take the distribution loss in")
        self.loss.step()
        rows = torch.stack(self.window).to(self.total.device)
        self.window.clear()
        self.total += _mean_over_ranks(torch.cat([rows[:, :-1].mean(0), rows[:, -1:].sum(0)]))  # shares of the loss add up
        self.steps += 1

    def save(self, checkpoint: Path) -> None:
        """Put the state beside the optimizer's. After `step` it is the same on every rank."""
        part = checkpoint / f"{STATE_FILE}.part"
        torch.save(self.loss.state_dict(), part)
        part.replace(checkpoint / STATE_FILE)

    def read(self, inputs: Mapping[str, Any]) -> Batch:
        """The tokens of a micro-batch, as the loss reads them.

        Raises:
            ValueError: it has no labels, or others than its tokens'.
        """
        labels = inputs.get("labels")
        if not isinstance(labels, Tensor):
            raise ValueError(f"DistributionLoss needs `labels` in the batch, [B, T]; it has {', '.join(inputs) or 'nothing'}")
        if labels.ndim == 1:
            raise ValueError(f"the loss reads causal language models; their labels are [B, T], these {list(labels.shape)}: a classifier's?")
        mask, ids, starts = inputs.get("attention_mask"), inputs.get("input_ids"), document_starts(inputs)
        if _fits(mask, labels):
            padding = mask.to(labels.device) == 0
            padding[:, 1:] |= padding[:, :-1].clone()  # what comes first behind padding on the left, too: it was predicted from there
            labels = labels.masked_fill(padding, self.loss.ignore_index)
        if isinstance(ids, Tensor) and ids.shape != labels.shape:
            raise ValueError(
                f"labels {list(labels.shape)} are not those of input_ids {list(ids.shape)}, so what they predict cannot be read. If the"
                " trainer has cut them, let it not: in ms-swift `--use_logits_to_keep false`, and no sequence parallelism"
            )
        ids = ids.to(labels.device) if isinstance(ids, Tensor) else None
        return self.loss.read(labels, input_ids=ids, document_starts=starts)

    def _of(
        self, predictions: Any, head: Caught | None, batch: Batch, *, detach: bool, num_items: Any = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        given = predictions.detach() if detach and isinstance(predictions, Tensor) else predictions
        if head is None:
            return self.loss(given, batch, num_items=num_items)  # type: ignore[no-any-return]
        how: dict[str, Any] = {"softcap": head.softcap, "logit_scale": head.logit_scale}
        return through_head(self.loss, given, head.head, batch, weight=float(not detach), num_items=num_items, **how)


def _virtual_tokens(model: Any) -> int:
    """Rows of predictions before those of the text: of prompts that PEFT has learnt, and puts in front as embeddings."""
    config = getattr(model, "active_peft_config", None)
    in_front = getattr(config, "is_prompt_learning", False) and getattr(config, "peft_type", None) != "PREFIX_TUNING"
    return int(config.num_virtual_tokens) if config is not None and in_front else 0


def _predictions(output: Any) -> Any:
    """Logits of a model's output, or hidden states that were caught; None if there are none."""
    return output.hidden_states if isinstance(output, Caught) else logits_of(output)


def document_starts(inputs: Mapping[str, Any]) -> Tensor | None:
    """Where a batch says that documents begin, bool [B, T] like its labels; padding is made of openings. None: it says nothing.

    Args:
        inputs: of the model; read are `position_ids` [B or 1, T], `attention_mask` [B, T] (of zeros and ones, or the number of the
            document) and `cu_seq_lens_q`, the bounds in the flattened batch.
    """
    labels = inputs["labels"]
    positions, mask, bounds = (inputs.get(name) for name in ("position_ids", "attention_mask", "cu_seq_lens_q"))
    found: list[Tensor] = []
    if isinstance(positions, Tensor) and positions.ndim == 2:
        found.append((positions == 0).expand_as(labels))
    if _fits(mask, labels):
        changes = torch.ones_like(mask, dtype=torch.bool)
        changes[:, 1:] = mask[:, 1:] != mask[:, :-1]
        found.append(changes | (mask == 0))
    if isinstance(bounds, Tensor):
        starts = torch.zeros(labels.numel() + 1, dtype=torch.bool, device=bounds.device)
        starts[bounds.long()] = True
        found.append(starts[:-1].view(labels.shape))
    return torch.stack([starts.to(labels.device) for starts in found]).any(0) if found else None


def _scale(trainer: Any, num_items: Any) -> tuple[Any, float, int]:
    """How the trainer scales its own loss: items that are divided by (None: the micro-batch's), factor, and what divides it later."""
    told = getattr(trainer, "loss_is_scaled_for_ga", None)
    scaled = (trainer.model_accepts_loss_kwargs and num_items is not None) or trainer.compute_loss_func is not None
    steps = getattr(trainer, "current_gradient_accumulation_steps", trainer.args.gradient_accumulation_steps)
    shares = 1 if (scaled if told is None else told) else steps
    if num_items is None:  # means of micro-batches: the step's loss is the mean of them
        return None, shares / steps, shares
    ranks = trainer.accelerator.num_processes if trainer.args.average_tokens_across_devices else 1  # DDP takes the mean of sums
    return num_items, float(ranks * shares), shares


def _tokenizer(trainer: Any) -> Any:
    found = getattr(trainer, "processing_class", None)
    found = getattr(found, "tokenizer", found)  # a processor has one inside
    if found is None:
        raise ValueError("the trainer has no `processing_class`; make it with your tokenizer there, or give settings.loss(tokenizer)")
    return found


def _check(trainer: Any, loss: Any, weight: float) -> None:
    if not isinstance(trainer, Trainer):
        raise TypeError(f"attach is for a transformers.Trainer, not a {type(trainer).__name__}; in another loop call the loss yourself")
    if _is_of_trl(trainer) and not any(base.__name__ in ("SFTTrainer", "UnslothSFTTrainer") for base in type(trainer).__mro__):
        raise TypeError(
            f"{type(trainer).__name__} is a trainer of TRL that learns from rewards or preferences; of TRL, attach takes SFTTrainer."
            " Give a GRPOTrainer or RLOOTrainer `reward_funcs=dft_stats.loss.DistributionReward(compiled)`"
        )
    if not isinstance(loss, DistributionLoss):
        raise TypeError(f"loss is a DistributionLoss, not a {type(loss).__name__}; make one of profile.compile(tokenizer)")
    if getattr(getattr(trainer.model, "config", None), "is_encoder_decoder", False):
        raise TypeError("the loss reads causal language models, and this model is an encoder with a decoder")
    if getattr(trainer.data_collator, "mlm", False):
        raise TypeError("the loss reads causal language models, and this trainer's collator masks tokens (mlm); give it mlm=False")
    if not isinstance(weight, Real):
        raise TypeError(f"weight is a number of at least 0, not {weight!r}")
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"weight is a number of at least 0, not {weight}")
    if loss.ignore_index != -100:
        raise ValueError(f"the trainer ignores labels of -100, the loss those of {loss.ignore_index}; make it with ignore_index=-100")
    if any(isinstance(callback, DistributionLossCallback) for callback in trainer.callback_handler.callbacks):
        raise ValueError("this trainer has a distribution loss already; make a new trainer for another")
    if trainer.args.n_gpu > 1:
        raise ValueError("nn.DataParallel is not supported; start the script with torchrun, or show it one GPU with CUDA_VISIBLE_DEVICES=0")
    if any(getattr(trainer, name, int)() > 1 for name in ("get_tp_size", "get_cp_size", "get_sp_size")):
        raise ValueError("tensor, context and sequence parallelism are not supported: ranks would count one text twice, or parts of it")


def _check_tokenizer(trainer: Any, loss: DistributionLoss) -> None:
    given = getattr(trainer, "processing_class", None)
    try:
        tokenizer = resolve(getattr(given, "tokenizer", given))
    except CompiledProfileError:
        return  # none, or one that cannot be looked into
    if fingerprint(tokenizer) == loss.identity["tokenizer_sha256"]:
        return
    # Ways of loading one tokenizer differ in what they write down, and somebody may have added a token: what counts is how ids are read.
    number = loss.reader.read_otherwise(token_table(surfaces(tokenizer), special_ids(tokenizer)))
    if number:
        raise VocabularyMismatch(
            f"the profile was compiled for another tokenizer than the trainer's `processing_class`: it reads {number:,} of"
            f" {loss.vocab_size:,} ids otherwise. Compile it for that one, `profile.compile(trainer.processing_class)`"
        )


def _is_of_trl(trainer: Any) -> bool:
    return any(base.__module__.partition(".")[0] == "trl" for base in type(trainer).__mro__)


def _fits(given: Any, labels: Tensor) -> TypeGuard[Tensor]:
    return isinstance(given, Tensor) and given.shape == labels.shape


def _mean_over_ranks(values: Tensor) -> Tensor:
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values
