"""The text embeddings of the rows of a training pass.

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
    """Encodes the identities' prompts: once, or in each pass if something of it is trained.

    Args:
        base: the model.
        tasks: of the K identities.
        rows: of the passes.
        token: the word that the trained token of each identity starts from; "" = none is trained.
        trains_encoder: whether the text encoder itself is.

    Attributes:
        vectors: (K, C) of the trained tokens; None if none is trained.
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
        own = [task.prompt for task in tasks]
        references = [task.reference_prompt for task in tasks]
        self._row_of = torch.tensor(rows.owners, device=base.device)
        self._is_prior = torch.tensor(rows.is_prior, device=base.device)[:, None, None]
        self.vectors: nn.Parameter | None = None
        if token:
            self._tokens = NewTokens(base, [token_name(task.name) for task in tasks])
            self.vectors = nn.Parameter(embedding_of(base, token).repeat(len(tasks), 1))
        # Ids lie on the device from the start: a copy in each pass would wait for it.
        self._own_ids = self._tokens.ids(own) if token else base.token_ids(own)
        self._reference_ids = base.token_ids(references)
        self._of_references = None if trains_encoder else base.encode_prompts(references)
        self._fixed = None
        if not token and not trains_encoder:
            self._fixed = self._of_rows(base.encode_prompts(own), self._of_references)

    def context(self) -> Tensor:
        """Return (B, L, C), with a gradient where something is trained."""
        if self._fixed is not None:
            return self._fixed
        references = self._of_references
        if references is None:
            references = self._text_encoder(self._reference_ids)[0]
        if self.vectors is None:
            return self._of_rows(self._text_encoder(self._own_ids)[0], references)
        return self._of_rows(self._tokens.encode(self._own_ids, self.vectors), references)

    def vector(self, k: int) -> Tensor | None:
        """Return the (C,) of identity ``k``'s token on the CPU; None if none is trained."""
        return None if self.vectors is None else self.vectors.detach()[k].cpu().clone()

    def _of_rows(self, own: Tensor, references: Tensor) -> Tensor:
        return torch.where(self._is_prior, references[self._row_of], own[self._row_of])
