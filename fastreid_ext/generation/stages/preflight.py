"""Check the models of a job before it starts: they exist, and the settings fit them.

Configurations, vocabularies and the headers of weight files are read, but no weights. Found later,
a wrong name would cost the work of all earlier stages, and the job would have to start again, since
job.json fixes its settings.
"""

from collections.abc import Callable
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.diffusion.adapted_layers import adapted_layers
from fastreid_ext.diffusion.few_step_adapter import find_few_step_adapter
from fastreid_ext.diffusion.model_folder import find_model_folder
from fastreid_ext.diffusion.schedulers import make_scheduler
from fastreid_ext.diffusion.stable_diffusion import find_base, read_tokenizer
from fastreid_ext.diffusion.weight_files import read_object
from fastreid_ext.generation.captions.captioner import expect_captioner
from fastreid_ext.generation.captions.captions_file import captions_file
from fastreid_ext.generation.captions.prompts import check_token, expect_room, expect_templates
from fastreid_ext.generation.captions.text_features import expect_text_model
from fastreid_ext.generation.filters.clip import expect_clip
from fastreid_ext.generation.fine_tuning.fine_tuned_files import unet_without_weights


def expect_models(cfg: CfgNode) -> None:
    """Check that every model of a job exists and knows what the settings name.

    With GENERATION.DOWNLOAD True missing ones are downloaded. The models of ``FILTER.REID`` and
    ``CCTF`` are files, which ``job_problems`` checks.

    Args:
        cfg: full configuration of the job.

    Raises:
        FileNotFoundError: a model is neither here nor in the hub's cache.
        ValueError: a model is damaged or of another kind, or a setting does not fit it.
    """
    generation = cfg.GENERATION
    folder, _ = find_base(cfg)
    tokenizer = read_tokenizer(folder)
    check_token(tokenizer, generation.PROMPT.TOKEN)
    expect_templates(cfg)
    expect_room(tokenizer, cfg)
    _expect_sampling(generation.SAMPLING, folder)
    if generation.FINE_TUNING.METHOD == "lora":
        adapted_layers(unet_without_weights(folder), generation.FINE_TUNING.TARGET_MODULES)
    for key, model, revision, expect in _others(cfg):
        found = find_model_folder(
            model, key=f"GENERATION.{key}", revision=revision, download=generation.DOWNLOAD
        )
        expect(found)
    if source := generation.SAMPLING.FEW_STEP_ADAPTER:
        find_few_step_adapter(source, generation.DOWNLOAD)


def _expect_sampling(sampling: CfgNode, folder: Path) -> None:
    config = read_object(folder / "scheduler" / "scheduler_config.json")
    trained = make_scheduler(sampling.SCHEDULER, config).config.num_train_timesteps
    if sampling.STEPS > trained:
        raise ValueError(
            f"expected GENERATION.SAMPLING.STEPS of at most {trained}, the steps of the noise that "
            f"{folder} was trained on, got {sampling.STEPS}; 20 to 50 are usual"
        )


def _others(cfg: CfgNode) -> list[tuple[str, str, str, Callable[[Path], None]]]:
    """List the models of transformers that the job uses.

    Returns:
        Key, model, revision, and the check of the model's folder.
    """
    generation = cfg.GENERATION
    captions = generation.CAPTIONS
    reference = generation.REFERENCE_SET
    has_captions = captions_file(Path(cfg.OUTPUT_DIR)).is_file()  # a person wrote them
    found = []
    if not has_captions:
        found.append(
            ("CAPTIONS.CAPTIONER", captions.CAPTIONER, captions.REVISION, expect_captioner)
        )
    if not has_captions or (reference.IMAGES and reference.MIN_SIMILARITY < 1):
        found.append(("CAPTIONS.TEXT_MODEL", captions.TEXT_MODEL, "", expect_text_model))
    if "clip" in generation.FILTER.USE:
        found.append(("FILTER.CLIP.MODEL", generation.FILTER.CLIP.MODEL, "", expect_clip))
    return found
