"""Keys of the generation of persons (tools/generate_persons.py).

The people come from ``DATASETS.NAMES``, ``DATASETS.SUBSET`` and ``DATASETS.ROOT``, the device from
``MODEL.DEVICE``, the seed from ``SEED``, and everything is written below ``OUTPUT_DIR``, as in
training.
"""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN


def add_generation_keys(cfg: CfgNode) -> None:
    """Add the keys below ``GENERATION``."""
    cfg.GENERATION = CN()
    # Hub id or local folder of a Stable Diffusion pipeline in diffusers layout. SD v1.4 is the
    # paper's.
    cfg.GENERATION.BASE_MODEL = "CompVis/stable-diffusion-v1-4"
    # Hub id or local folder of an AutoencoderKL that replaces the pipeline's, such as
    # stabilityai/sd-vae-ft-mse; "" = the pipeline's own.
    cfg.GENERATION.VAE = ""
    # Revision of BASE_MODEL on the hub (branch, tag or commit); "" = main.
    cfg.GENERATION.REVISION = ""
    # Whether models may be downloaded. False: only local folders and the hub's cache are read.
    cfg.GENERATION.DOWNLOAD = False
    # Type in which frozen models compute: float32, bfloat16, or float16, in which nobody can be
    # learned. What is trained stays in float32.
    cfg.GENERATION.DTYPE = "bfloat16"
    # Height and width in pixels at which the diffusion model learns and draws; multiples of 8 of
    # SD. The paper's is [512, 512]; [512, 256] has a person's shape and costs half.
    cfg.GENERATION.SIZE = [512, 256]
    _add_compute(cfg.GENERATION)
    # Largest share of a job's identities that may fail, in [0, 1]; with more the job ends with an
    # error and without dataset.json.
    cfg.GENERATION.MAX_FAILED = 0.1
    _add_identities(cfg.GENERATION)
    _add_captions(cfg.GENERATION)
    _add_prompt(cfg.GENERATION)
    _add_reference_set(cfg.GENERATION)
    _add_fine_tuning(cfg.GENERATION)
    _add_sampling(cfg.GENERATION)
    _add_filter(cfg.GENERATION)


def _add_compute(generation: CfgNode) -> None:
    # Speed and memory. All are off by default, because each changes the last bits of results
    # (VAE_TILING visibly: tiles are blended), so a job keeps what it began with.
    compute = generation.COMPUTE = CN()
    # Activations of U-Net and VAE in channels-last memory layout; faster on GPUs since Volta.
    compute.CHANNELS_LAST = False
    # Backend of torch.compile for the U-Net, "inductor" as a rule; "" = not compiled. It takes
    # minutes before the first image and again for other batches of adapters: measure first.
    compute.COMPILE = ""
    # Matrix products of float32 in TF32 on GPUs since Ampere; without effect on other types.
    compute.TF32 = False
    # Attention of the U-Net in slices: slower, less memory where torch has no fused attention.
    compute.ATTENTION_SLICING = False
    # The VAE decodes one image at a time, or one tile of a large image at a time.
    compute.VAE_SLICING = False
    compute.VAE_TILING = False


def _add_identities(generation: CfgNode) -> None:
    identities = generation.IDENTITIES = CN()
    # Most reference images of an identity, those a model is fine-tuned on; 0 = all.
    identities.MAX_IMAGES = 20
    # An identity with fewer usable images is left out, with the reason in identities.jsonl.
    identities.MIN_IMAGES = 2
    # Whether references come from one camera, the one with most images, in the order of their
    # frames ("consecutive images of one ID from the same camera" in the paper).
    identities.SAME_CAMERA = True
    # With SAME_CAMERA: frames further apart than this belong to two tracklets, of which the longest
    # is taken (frame numbers in file names, 25 a second in Market-1501); 0 = all of a camera are
    # one.
    identities.MAX_FRAME_GAP = 0
    # Images lower than this, in pixels, are not used as references; 0 = all are.
    identities.MIN_HEIGHT = 64
    # Least variance of the Laplacian of the grey image (0-255 squared) of a reference: blurred
    # ones are below 20 or so; 0 = no rule.
    identities.MIN_SHARPNESS = 0.0
    # Only the first so many identities, in the order of their names; 0 = all.
    identities.LIMIT = 0


def _add_captions(generation: CfgNode) -> None:
    captions = generation.CAPTIONS = CN()
    # Hub id or local folder of the captioner: BLIP-2, BLIP, or another image-to-text model of
    # transformers.
    captions.CAPTIONER = "Salesforce/blip2-opt-2.7b"
    captions.REVISION = ""
    # What the captioner is asked about each image, one answer each; "" = an unprompted caption.
    captions.QUESTIONS = [
        "Question: what clothes is the person wearing, and in what colours? Answer:",
        "Question: what is the person carrying? Answer:",
        "Question: what is the person doing? Answer:",
    ]
    # Most tokens of an answer, and beams of the search.
    captions.MAX_TOKENS = 40
    captions.BEAMS = 5
    # Images captioned at once, and most of an identity (spread over its references); 0 = all.
    captions.BATCH_SIZE = 16
    captions.MAX_IMAGES = 8
    # How the captions of an identity's images become one: "medoid", the caption nearest to the
    # others by CLIP's text features, or "vote", the most frequent answer to each question.
    captions.AGGREGATION = "medoid"
    # Hub id or local folder of the CLIP model that compares texts (captions, and prompts for the
    # clusters of the reference set).
    captions.TEXT_MODEL = "openai/clip-vit-large-patch14"


def _add_prompt(generation: CfgNode) -> None:
    prompt = generation.PROMPT = CN()
    # The prompt; {token} is the identity token (IIR in the paper), {caption} the identity's
    # caption. The reference prompt is the same without the token.
    prompt.TEMPLATE = "a photo of {token} person, {caption}"
    # A rare token of the vocabulary, the same for all identities since each has its own weights;
    # "" = no identity token.
    prompt.TOKEN = "sks"
    # Instead, a new token per identity, whose embedding is trained from that of TOKEN.
    prompt.TRAIN_TOKEN = False


def _add_reference_set(generation: CfgNode) -> None:
    reference = generation.REFERENCE_SET = CN()
    # Images the untouched model draws for the reference prompt (ARS in the paper, 200); 0 = no
    # prior preservation.
    reference.IMAGES = 200
    # Identities whose reference prompts have at least this cosine similarity (CLIP text) share one
    # set, in [-1, 1]; 1 = only equal prompts do.
    reference.MIN_SIMILARITY = 0.9


def _add_fine_tuning(generation: CfgNode) -> None:
    tuning = generation.FINE_TUNING = CN()
    # "lora": low-rank adapters of the U-Net; "full": the whole U-Net, as in the paper.
    tuning.METHOD = "lora"
    # Rank, scale and modules of the adapters, as in peft's LoraConfig.
    tuning.RANK = 8
    tuning.ALPHA = 8
    tuning.TARGET_MODULES = ["to_q", "to_k", "to_v", "to_out.0"]
    # "full" only: train the text encoder too, as the paper's rate suggests.
    tuning.TEXT_ENCODER = False
    # Optimizer steps, images of the identity in each (as many of the reference set are added), and
    # passes whose gradients are added up for one step.
    tuning.STEPS = 1000
    tuning.BATCH_SIZE = 1
    tuning.GRADIENT_ACCUMULATION = 1
    # AdamW's rate (constant) and weight decay. The paper's full fine-tuning has 2e-6.
    tuning.BASE_LR = 1e-4
    tuning.WEIGHT_DECAY = 0.01
    # Largest norm of an identity's gradient; 0 = not clipped.
    tuning.MAX_GRAD_NORM = 1.0
    # Weight of the prior-preservation term, lambda of eq. 1.
    tuning.PRIOR_WEIGHT = 1.0
    # What eq. 1 compares: "prediction", what the model predicts (the noise, or the velocity of a
    # v-prediction model), unweighted as in diffusers' DreamBooth script; or "sample", the clean
    # latent weighted by w_t = alpha_t^2 / sigma_t^2 capped at MAX_SAMPLE_WEIGHT.
    tuning.LOSS_ON = "prediction"
    tuning.MAX_SAMPLE_WEIGHT = 5.0
    # LoRA only: identities whose adapters are trained together, in one batch, on the one frozen
    # U-Net. Their numbers do not depend on each other.
    tuning.IDENTITIES_AT_ONCE = 8
    # Compute activations a second time instead of keeping them: half the memory, a third more time.
    tuning.GRADIENT_CHECKPOINTING = False
    # Keep the weights of "full" after the identity's images are generated (3.4 GB each with SD v1).
    # False: they never reach the disk, images are generated from the modules in memory. A larger
    # IMAGES_PER_IDENTITY later fine-tunes the identities again.
    tuning.KEEP_FULL_WEIGHTS = False
    # Keep an adapter after the identity's images are generated. False: it is removed, and a larger
    # IMAGES_PER_IDENTITY later fine-tunes the identities again.
    tuning.KEEP_ADAPTERS = True
    # Type in which adapters are stored: float32, bfloat16 or float16. With DTYPE bfloat16, bfloat16
    # halves the files and changes no image, since adapters are rounded to DTYPE for sampling.
    tuning.ADAPTER_DTYPE = "float32"


def _add_sampling(generation: CfgNode) -> None:
    sampling = generation.SAMPLING = CN()
    # Images generated of each identity. It may grow later: the missing ones are added.
    sampling.IMAGES_PER_IDENTITY = 150
    # Generate more of an identity until so many of its images pass the filters; 0 = no. There are
    # at most MAX_IMAGES_PER_IDENTITY, whatever passes.
    sampling.MIN_KEPT = 0
    sampling.MAX_IMAGES_PER_IDENTITY = 600
    # A scheduler class of diffusers, its steps, and the scale of classifier-free guidance.
    sampling.SCHEDULER = "DDIMScheduler"
    sampling.STEPS = 50
    sampling.GUIDANCE_SCALE = 7.5
    sampling.NEGATIVE_PROMPT = ""
    # Templates of the prompts of an identity's images, in turn by the number of the image (scenes,
    # actions, views, clothes): {prompt} is the prompt of fine-tuning, {token} and {caption} are
    # those of PROMPT.TEMPLATE, e.g. "{prompt}, seen from behind" or "a photo of {token} person in a
    # black coat, in a station". [] = the prompt of fine-tuning alone. Or a text file with one
    # template a line.
    sampling.PROMPTS = []
    sampling.PROMPTS_FILE = ""
    # Images drawn at once, over identities.
    sampling.BATCH_SIZE = 16
    # Height and width in pixels of the files, and how a drawing gets there: "resize", or "crop" to
    # the aspect around the centre first.
    sampling.SAVE_SIZE = [256, 128]
    sampling.RESIZE_MODE = "resize"
    # Hub id or local folder of a LoRA that allows few steps (LCM-LoRA and the like), under the
    # identity's adapter; "" = none. Reference sets are drawn with it too, not by the base model
    # alone.
    sampling.FEW_STEP_ADAPTER = ""
    # "jpg" (with QUALITY in [1, 95]) or "png".
    sampling.FORMAT = "jpg"
    sampling.QUALITY = 95


def _add_filter(generation: CfgNode) -> None:
    filters = generation.FILTER = CN()
    # Filters that decide, of reid, cctf, clip, duplicates; scores of the others stay in the rows.
    filters.USE = ["reid"]
    # Most images kept of an identity, the best by the first of USE; 0 = all.
    filters.MAX_PER_IDENTITY = 0
    # Least images kept of an identity: the best by the first of USE are kept although a filter
    # rejects them, but no near-duplicates with "duplicates" in USE; 0 = none.
    filters.MIN_PER_IDENTITY = 0
    # Images scored at once.
    filters.BATCH_SIZE = 64

    reid = filters.REID = CN()
    # Re-ID CTF: configuration and checkpoint of a model trained on the source set.
    reid.CONFIG_FILE = ""
    reid.WEIGHTS = ""
    # One model for each source set, as the paper has: [data set, configuration, checkpoint], ...;
    # CONFIG_FILE and WEIGHTS judge the sets that are not listed. Identities of a listed set are
    # compared with those of this set alone.
    reid.MODELS = []
    # Least cosine similarity to the mean feature of the identity's real images. "nearest": none,
    # NEAREST alone decides. "percentile": the PERCENTILE of such similarities of real images that
    # the model was not trained on (the test images, if it was trained on the set), each to the mean
    # of the others of its identity; at 10, a tenth of those would be refused. "fixed": THRESHOLD.
    reid.RULE = "nearest"
    reid.PERCENTILE = 10.0
    reid.THRESHOLD = 0.6
    # Whether the nearest mean feature must be that of the right identity.
    reid.NEAREST = True

    cctf = filters.CCTF = CN()
    # Classification filter: a model trained on the source set; least softmax probability of the
    # right identity.
    cctf.CONFIG_FILE = ""
    cctf.WEIGHTS = ""
    cctf.THRESHOLD = 0.5

    clip = filters.CLIP = CN()
    # CLIP filter: hub id or local folder, texts (the first is wanted), least softmax probability
    # of the first.
    clip.MODEL = "openai/clip-vit-large-patch14"
    clip.TEXTS = ["a photo of a person", "a photo of an empty street", "a blurred picture of noise"]
    clip.THRESHOLD = 0.5

    duplicates = filters.DUPLICATES = CN()
    # Least Hamming distance (bits of 64) of the perceptual hash to every kept image of the identity
    # that is better by the first of USE.
    duplicates.MIN_DISTANCE = 4
