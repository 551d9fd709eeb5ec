"""Every key fastreid_ext adds to fastreid's configuration."""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN


def add_fastreid_ext_config(cfg: CfgNode) -> None:
    """Add every key of fastreid_ext to ``cfg``, in place; call before ``merge_from_file``."""
    # Seed of everything random (weights, sampling, augmentation). >= 0: two CPU runs are
    # bit-identical, whatever the number of workers. -1: drawn anew at each start and kept in the
    # checkpoint, so that resuming is exact either way.
    cfg.SEED = -1

    # Share in [0, 1] of the model's tensors that MODEL.WEIGHTS must hold in equal shape, else the
    # run does not start (fastreid warns). Classification layers of another number of classes do
    # not count. Lower it to start from weights of a deliberately different model.
    cfg.MODEL.MIN_WEIGHTS_MATCHED = 0.9

    # Iterations between two lines on the console and in metrics.json (fastreid fixes 200).
    cfg.SOLVER.LOG_PERIOD = 20
    # Number of first steps after which the sentinel asks whether gradients exist and parameters
    # moved; 0 = never.
    cfg.SOLVER.SENTINEL_STEPS = 3
    cfg.SOLVER.NON_FINITE = CN()
    # Steps with a NaN or infinite loss that one run may skip (weights untouched, images named in
    # the log) before it stops with an error; 0 = stop at the first, as fastreid does.
    cfg.SOLVER.NON_FINITE.MAX_SKIPPED = 0

    # Folder that holds the data sets. "": the environment's FASTREID_DATASETS, or ./datasets, as
    # fastreid.
    cfg.DATASETS.ROOT = ""
    # What to check before training: "full" decodes every image, "headers" opens them, "off" checks
    # nothing.
    cfg.DATASETS.PREFLIGHT = "full"
    _add_generated_persons(cfg)

    # Loader processes during evaluation (fastreid fixes 4).
    cfg.TEST.NUM_WORKERS = 4


def _add_generated_persons(cfg: CfgNode) -> None:
    generated = cfg.DATASETS.GENERATED = CN()
    # Folders of generated sets (each holds dataset.json and <identity>/metadata.jsonl), read by the
    # data set "GeneratedPersons"; name it in DATASETS.NAMES, alone or beside real sets.
    generated.ROOTS = []
    # "new": every generated identity is a class of its own (pre-training). "kept": a generated
    # identity is the identity of the real set it was made from (augmentation).
    generated.PERSON_IDS = "new"
    # Camera of a generated image: "row" = the row's camera_id; "source" = that of its first source
    # image; "single" = one camera for the whole set; "per_image" = each image a camera of its own.
    generated.CAMERA_RULE = "row"
    # Most images used of one identity; 0 = all.
    generated.MAX_PER_IDENTITY = 0
    # Share of every batch that is generated, in [0, 1), instead of the order of SAMPLER_TRAIN; 0 =
    # no rule, images come as they are sampled. With persons "kept": of the NUM_INSTANCE images of
    # each person that has both kinds, on average; "new": of the persons in a batch; with
    # TrainingSampler: of the images.
    generated.BATCH_SHARE = 0.0
