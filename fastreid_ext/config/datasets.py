"""Keys of ``DATASETS``: where data sets lie, subsets, sets of the user and generated sets."""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN


def add_datasets_keys(datasets: CfgNode) -> None:
    """Add our keys to ``DATASETS``."""
    # Folder that holds the data sets; "" = the environment variable FASTREID_DATASETS, or
    # ./datasets, as in fastreid.
    datasets.ROOT = ""
    # Check of the image files before training: "headers" opens each file, "full" decodes each
    # image, "off" reads none.
    datasets.PREFLIGHT = "headers"
    # Part of the training split; "" = all. "few_shot_10": 10 % of the images of each identity,
    # "small_scale_10": 10 % of the identities; 1 to 100, sampled with seed 0 or that of a suffix
    # such as "_seed3", written once to <ROOT>/subsets/<data set>/ and read from there afterwards. A
    # path: a list file of tools/make_subset.py or of another project. Each set of NAMES is cut
    # but GeneratedPersons, which has MAX_PER_IDENTITY; test sets stay whole.
    datasets.SUBSET = ""
    # Data sets of the user for NAMES and TESTS, each "name=path" or "name=class:path", e.g.
    # "Shop=/data/shop" (a folder in Market-1501's layout), "Station=/data/station.csv" (a table) or
    # "Crowd=UnlabelledPersons:/data/crowd". FOLDER and TABLE are for one set that needs no name.
    datasets.SETS = []
    # Folder of the data set "PersonFolder", in Market-1501's layout; or of "UnlabelledPersons",
    # with images anywhere below it (or a .txt file of their paths), each an identity of its own.
    datasets.FOLDER = ""
    # CSV file of the data set "PersonTable": file_name, person_id, camera_id, split.
    datasets.TABLE = ""
    # Labelled data sets from which a model is adapted to those of NAMES, the target, whose
    # identities are then not used; for UNSUPERVISED. Half of each batch is of the sources, which
    # SUBSET does not cut.
    datasets.SOURCES = ()
    _add_generated(datasets)
    _add_positives(datasets)


def _add_generated(datasets: CfgNode) -> None:
    generated = datasets.GENERATED = CN()
    # Folders of generated sets (each holds dataset.json and <identity>/metadata.jsonl), read by the
    # data set "GeneratedPersons"; name it in DATASETS.NAMES, alone or with real sets.
    generated.ROOTS = []
    # Identities of generated images: "new" = each generated identity is a class of its own
    # (pre-training); "kept" = the identity of the real set that it was made from (augmentation).
    generated.PERSON_IDS = "new"
    # Camera of a generated image: "single" = one camera for the whole set; "row" = the row's
    # camera_id, which tools/generate_persons.py does not write; "source" = that of its first source
    # image; "per_image" = each image a camera of its own.
    generated.CAMERA_RULE = "single"
    # Maximum number of images of an identity; 0 = no limit.
    generated.MAX_PER_IDENTITY = 0
    # Maximum number of images in all, spread evenly over the identities; 0 = no limit. A smaller
    # number takes a part of what a larger one takes.
    generated.MAX_IMAGES = 0
    # Share of generated images in every batch, in [0, 1), instead of the order of SAMPLER_TRAIN; 0
    # = images come as they are sampled. With PERSON_IDS "kept": of the NUM_INSTANCE images of each
    # identity that has both kinds, on average; "new": of the identities in a batch; with
    # TrainingSampler: of the images.
    generated.BATCH_SHARE = 0.0


def _add_positives(datasets: CfgNode) -> None:
    positives = datasets.POSITIVES = CN()
    # Folders of generated sets with pose-changed images of the training images, the positives of
    # INPUT.VIEWS.RECIPE "pose".
    positives.ROOTS = []
    # Training images that a generated image is a positive of: "image" = those that its row names as
    # source_images, without labels; "identity" = all of its source_dataset and person_id.
    positives.PAIRED_BY = "image"
    # Values of the condition "pose" in the rows to keep, e.g. ["front", "left", "back", "right"];
    # [] = all.
    positives.POSES = []
