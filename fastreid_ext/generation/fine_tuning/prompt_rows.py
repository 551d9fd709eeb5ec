"""Text embeddings of the rows of a micro-batch.

Letters: B rows, K identities, L tokens, C width of the text encoder.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.fine_tuning.settings import FineTuneTask
from fastreid_ext.generation.fine_tuning.trained_token import NewTokens, embedding_of, token_name
from fastreid_ext.generation.fine_tuning.training_rows import TrainingRows


class PromptRows:
    """Encoder of the identities' prompts: once, or per micro-batch where part of it is trained.

    Args:
        base: Stable Diffusion, whose text encoder reads the prompts.
        tasks: fine-tuning tasks of the K identities.
        rows: rows of which each micro-batch consists.
        token: word from which the trained token of each identity starts; "" trains no token.
        trains_encoder: whether the text encoder itself is trained.

    Attributes:
        vectors: (K, C) embeddings of the trained tokens; None without trained tokens.
    """

    def __init__(
        self,
        base: StableDiffusion,
        tasks: Sequence[FineTuneTask],
        rows: TrainingRows,
        *,
        token: str,
        trains_encoder: bool = False,
    ) -> None:
        self._text_encoder = base.text_encoder
        prompts = [task.prompt for task in tasks]
        reference_prompts = [task.reference_prompt for task in tasks]
        self._identity_index = torch.tensor(rows.identity_index, device=base.device)
        self._is_prior = torch.tensor(rows.is_prior, device=base.device)[:, None, None]
        self.vectors: nn.Parameter | None = None
        if token:
            self._tokens = NewTokens(base, [token_name(task.name) for task in tasks])
            self.vectors = nn.Parameter(embedding_of(base, token).repeat(len(tasks), 1))
        # Ids lie on the device from the start: a copy per micro-batch would wait for it.
        self._ids = self._tokens.ids(prompts) if token else base.token_ids(prompts)
        self._reference_ids = base.token_ids(reference_prompts)
        self._references = None if trains_encoder else base.encode_prompts(reference_prompts)
        self._fixed = None
        if not token and not trains_encoder:
            self._fixed = self._of_rows(base.encode_prompts(prompts), self._references)

    def context(self) -> Tensor:
        """Encode the prompts of all rows as (B, L, C), with a gradient where part is trained."""
        if self._fixed is not None:
            return self._fixed
        references = self._references
        if references is None:
            references = self._text_encoder(self._reference_ids)[0]
        if self.vectors is None:
            return self._of_rows(self._text_encoder(self._ids)[0], references)
        return self._of_rows(self._tokens.encode(self._ids, self.vectors), references)

    def vector(self, k: int) -> Tensor | None:
        """Copy the (C,) embedding of identity ``k``'s token to the CPU; None if none is trained."""
        return None if self.vectors is None else self.vectors.detach()[k].cpu().clone()

    def _of_rows(self, own: Tensor, references: Tensor) -> Tensor:
        index = self._identity_index
        return torch.where(self._is_prior, references[index], own[index])
