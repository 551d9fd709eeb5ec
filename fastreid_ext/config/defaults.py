"""Every key fastreid_ext adds to fastreid's configuration."""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN

from fastreid_ext.config.augmentation import add_augmentation_keys
from fastreid_ext.config.fast_path import add_fast_path_keys
from fastreid_ext.config.generation import add_generation_keys
from fastreid_ext.config.pretrained import add_pretrained_keys
from fastreid_ext.config.pretraining import add_pretraining_keys
from fastreid_ext.config.robust import add_robust_keys


def add_fastreid_ext_config(cfg: CfgNode) -> None:
    """Add every key of fastreid_ext to ``cfg``, in place, with its default.

    ``import fastreid_ext`` does so to the defaults that ``get_cfg()`` copies.
    """
    # Seed of everything random (weights, sampling, augmentation). >= 0: two CPU runs are
    # bit-identical, whatever the number of workers. -1: drawn anew at each start and kept in the
    # checkpoint, so that resuming is exact either way.
    cfg.SEED = -1

    # Share in [0, 1] of the model's tensors that MODEL.WEIGHTS must hold in equal shape, else the
    # run does not start (fastreid warns). Classification layers of another number of classes do
    # not count. Lower it to start from weights of a deliberately different model.
    cfg.MODEL.MIN_WEIGHTS_MATCHED = 0.9

    # With several processes: look in each step for parameters that got no gradient, which costs a
    # pass over the graph. Needed where a step leaves parameters out; a meta-architecture that
    # always does sets the attribute `find_unused_parameters` instead.
    cfg.MODEL.FIND_UNUSED_PARAMETERS = False

    # Dtype of mixed precision (SOLVER.AMP.ENABLED), on any device: "float16" scales the loss, as
    # fastreid does; "bfloat16" has the range of float32 and needs no scaling, but has 3 bits less;
    # "" = float16 on a GPU and bfloat16 on the CPU, where float16 is many times slower; filled in
    # when the file is loaded.
    cfg.SOLVER.AMP.DTYPE = ""
    # Iterations between two lines on the console and in metrics.json (fastreid fixes 200).
    cfg.SOLVER.LOG_PERIOD = 20
    # Number of updates at the start of a run after which it is checked that gradients exist and
    # parameters moved; 0 = no check.
    cfg.SOLVER.GRADIENT_CHECK_STEPS = 3
    cfg.SOLVER.NON_FINITE = CN()
    # Steps with a NaN or infinite loss that one run may skip (weights untouched, images named in
    # the log) before it stops with an error; 0 = stop at the first, as fastreid does.
    cfg.SOLVER.NON_FINITE.MAX_SKIPPED = 0
    # Iterations in an epoch: schedules, periods and resuming count such epochs. 0 = as many as the
    # training images fill (with OncePerIdentitySampler the identities).
    cfg.SOLVER.ITERS_PER_EPOCH = 0
    # Parts of the model with a learning rate, decay or optimizer options of their own: a list of
    # {"name": ..., "lr_factor": ..., "weight_decay": ..., <option of SOLVER.OPT>: ...}. "name" is
    # read as in MODEL.FREEZE_LAYERS: whole names from the beginning, a regular expression.
    # "lr_factor" multiplies the rate, factors of biases and heads included; the rest replaces.
    # Where several entries name a parameter, the later one prevails (factors multiply).
    cfg.SOLVER.PARAM_GROUPS = []
    cfg.SOLVER.EMA = CN()
    # Exponential moving average of the weights, written as model_ema.pth when training ends: share
    # of the average that stays in each step, in [0, 1), e.g. 0.9999; 0 = none. Evaluations during
    # training are of the model itself.
    cfg.SOLVER.EMA.DECAY = 0.0

    cfg.INPUT.CLEAN_VIEW = CN()
    # Height and width in pixels of a second view of each training image, not augmented, in the
    # batch as clean_images (float32, [0, 255]); [] = none.
    cfg.INPUT.CLEAN_VIEW.SIZE = []

    # Folder that holds the data sets. "": the environment's FASTREID_DATASETS, or ./datasets, as
    # fastreid.
    cfg.DATASETS.ROOT = ""
    # What to check before training: "full" decodes every image, "headers" opens them, "off" checks
    # nothing.
    cfg.DATASETS.PREFLIGHT = "headers"
    _add_generated_persons(cfg)
    _add_data_settings(cfg)
    _add_backbones(cfg)
    _add_batch_drop_block(cfg)
    add_pretrained_keys(cfg)
    add_augmentation_keys(cfg)
    add_fast_path_keys(cfg)
    add_robust_keys(cfg)
    add_pretraining_keys(cfg)
    add_generation_keys(cfg)

    # Loader processes during evaluation (fastreid fixes 4).
    cfg.TEST.NUM_WORKERS = 4
    # Which k-reciprocal re-ranking TEST.RERANK is: "evaluator" = that of fastreid's evaluator,
    # "released" = that of the authors' code, which papers report; evaluation/reranking.py says in
    # what they differ.
    cfg.TEST.RERANK.RULE = "evaluator"


def _add_data_settings(cfg: CfgNode) -> None:
    # Part of the training split to train on. "": all. "few_shot_10": 10 % of the images of each
    # person, "small_scale_10": 10 % of the persons; 1 to 100, drawn with seed 0 or that of a final
    # "_seed3", written once to <ROOT>/subsets/<data set>/ and read from there ever after. The path
    # of a list file: that list, of tools/make_subset.py or of another project. Each set of NAMES
    # but GeneratedPersons is cut, which has MAX_PER_IDENTITY; tests stay whole.
    cfg.DATASETS.SUBSET = ""
    # Data sets of your own by name, for NAMES and TESTS: "name=path" or "name=class:path", e.g.
    # "Shop=/data/shop" (a folder in Market-1501's layout), "Station=/data/station.csv" (a table) or
    # "Crowd=UnlabelledPersons:/data/crowd". FOLDER and TABLE are for one set that needs no name.
    cfg.DATASETS.SETS = []
    # Folder of the data set "PersonFolder", in Market-1501's layout; or of "UnlabelledPersons",
    # with images anywhere below it (or a .txt file of their paths), each a person of its own.
    cfg.DATASETS.FOLDER = ""
    # CSV file of the data set "PersonTable": file_name, person_id, camera_id, split.
    cfg.DATASETS.TABLE = ""


def _add_generated_persons(cfg: CfgNode) -> None:
    generated = cfg.DATASETS.GENERATED = CN()
    # Folders of generated sets (each holds dataset.json and <identity>/metadata.jsonl), read by the
    # data set "GeneratedPersons"; name it in DATASETS.NAMES, alone or beside real sets.
    generated.ROOTS = []
    # "new": every generated identity is a class of its own (pre-training). "kept": a generated
    # identity is the identity of the real set it was made from (augmentation).
    generated.PERSON_IDS = "new"
    # Camera of a generated image: "single" = one camera for the whole set; "row" = the row's
    # camera_id, which tools/generate_persons.py does not write; "source" = that of its first source
    # image; "per_image" = each image a camera of its own.
    generated.CAMERA_RULE = "single"
    # Most images used of one identity; 0 = all.
    generated.MAX_PER_IDENTITY = 0
    # Share of every batch that is generated, in [0, 1), instead of the order of SAMPLER_TRAIN; 0 =
    # no rule, images come as they are sampled. With persons "kept": of the NUM_INSTANCE images of
    # each person that has both kinds, on average; "new": of the persons in a batch; with
    # TrainingSampler: of the images.
    generated.BATCH_SHARE = 0.0


def _add_batch_drop_block(cfg: CfgNode) -> None:
    bdb = cfg.MODEL.HEADS.BDB = CN()
    # Shares in (0, 1] of the rows and columns of the feature map that BatchDrop zeroes in training,
    # r_h and r_w of the paper; a width of 1 makes the rectangle a stripe.
    bdb.DROP_HEIGHT = 0.33
    bdb.DROP_WIDTH = 1.0
    # Dimensions of the features of the global and of the part branch.
    bdb.GLOBAL_DIM = 512
    bdb.PART_DIM = 1024

    cutout = cfg.INPUT.CUTOUT = CN()
    # Cut-out: with probability PROB in [0, 1] a rectangle of SIZE [rows, columns] in pixels,
    # somewhere inside a training image, takes the colour MODEL.PIXEL_MEAN, so that it is 0 after
    # normalisation.
    cutout.ENABLED = False
    cutout.PROB = 0.5
    cutout.SIZE = [64, 64]

    # SOLVER.SCHED StairWarmupLR: the rate climbs to BASE_LR in COUNT equal steps of EPOCHS epochs,
    # then is multiplied by GAMMA after each of STEPS finished epochs, as with MultiStepLR. It
    # counts its stairs from epoch 1 (BDB's rule is floor(epoch / 5) + 1), so the first is an epoch
    # shorter.
    stairs = cfg.SOLVER.STAIRS = CN()
    stairs.COUNT = 10
    stairs.EPOCHS = 5


def _add_backbones(cfg: CfgNode) -> None:
    backbone = cfg.MODEL.BACKBONE
    # fastreid's FEAT_DIM, channels of the backbone's map: 0 = the backbone's own width, filled in
    # when the file is loaded; a wrong number is refused. Its DEPTH is the size of every backbone
    # but timm's. Its DROP_PATH_RATIO, DROP_RATIO and ATT_DROP_RATE, in [0, 1), are read by Swin and
    # the ViTs.

    # Name of timm's model for build_timm_backbone, e.g. "convnext_tiny"; never downloaded.
    backbone.TIMM_NAME = ""
    # What a ViT hands to the head: "class" = the class token, "patch" = the map of patches (CLIP:
    # each projected as the class token is), "" = "class" under GlobalAvgPool in Baseline, "patch"
    # where pooling or parts need a map; filled in when the file is loaded.
    backbone.TOKENS = ""
    # Do not train the patch projection of a ViT, the first layer (as MoCo v3 and DCAC do).
    backbone.FREEZE_PATCH_EMBED = False
    # Activation of build_clip_vit_backbone: True = x * sigmoid(1.702 x), for OpenAI's weights (and
    # models whose open_clip name ends in "quickgelu"); False = GELU, for LAION's and DataComp's. A
    # weight file does not say which; the wrong one costs accuracy without an error.
    backbone.QUICK_GELU = True
    # Share of semantics against appearance, `lambda` of SOLIDER, in [0, 1], for its Swin (its
    # authors take 0.2 for Re-ID); -1 = a plain Swin.
    backbone.SEMANTIC_WEIGHT = -1.0
