"""Keys of ``GENERATION``: generation of images of identities (tools/generate_persons.py).

As in training, ``DATASETS.NAMES``, ``SUBSET`` and ``ROOT`` name the identities, ``MODEL.DEVICE`` is
the device and ``SEED`` the seed; all files are written below ``OUTPUT_DIR``.
"""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN

from fastreid_ext.config.pose_guided import add_pose_guided_keys
from fastreid_ext.config.pose_plan import add_pose_plan_keys


def add_generation_keys(cfg: CfgNode) -> None:
    """Add the keys below ``GENERATION``."""
    cfg.GENERATION = CN()
    # Hub id or local folder of a Stable Diffusion pipeline in diffusers' layout; SD v1.4 in the
    # paper.
    cfg.GENERATION.BASE_MODEL = "CompVis/stable-diffusion-v1-4"
    # Hub id or local folder of an AutoencoderKL that replaces the pipeline's, such as
    # stabilityai/sd-vae-ft-mse; "" = the pipeline's own.
    cfg.GENERATION.VAE = ""
    # Revision of BASE_MODEL on the hub (branch, tag or commit); "" = main.
    cfg.GENERATION.REVISION = ""
    # Permission to download models. False: only local folders and the hub's cache are read.
    cfg.GENERATION.DOWNLOAD = False
    # Dtype of frozen models: "float32", "bfloat16" or "float16". float16 works for sampling only;
    # fine-tuning needs bfloat16 or float32. Trained parameters stay in float32.
    cfg.GENERATION.DTYPE = "bfloat16"
    # Height and width in pixels of images in the diffusion model, multiples of 8; [512, 512] in the
    # paper, [512, 256] has the shape of a person and costs half.
    cfg.GENERATION.SIZE = [512, 256]
    # Maximum share in [0, 1] of a job's identities that may fail; above it the job ends with an
    # error and without dataset.json.
    cfg.GENERATION.MAX_FAILED = 0.1
    _add_compute(cfg.GENERATION)
    _add_identities(cfg.GENERATION)
    _add_captions(cfg.GENERATION)
    _add_prompt(cfg.GENERATION)
    _add_reference_set(cfg.GENERATION)
    _add_fine_tuning(cfg.GENERATION)
    _add_sampling(cfg.GENERATION)
    _add_filter(cfg.GENERATION)
    add_pose_guided_keys(cfg.GENERATION)
    add_pose_plan_keys(cfg.GENERATION)


def _add_compute(generation: CfgNode) -> None:
    # Speed and memory. All are off by default, because each changes the last bits of results
    # (VAE_TILING visibly: tiles are blended), so a job keeps the values it began with.
    compute = generation.COMPUTE = CN()
    # Channels-last memory layout of U-Net and VAE; faster on GPUs since Volta.
    compute.CHANNELS_LAST = False
    # Backend of torch.compile for the U-Net, usually "inductor"; "" = not compiled. Compiling takes
    # minutes before the first image, and again for other batches of adapters: measure first.
    compute.COMPILE = ""
    # TF32 for matrix products of float32 on GPUs since Ampere; no effect on other dtypes.
    compute.TF32 = False
    # Attention of the U-Net in slices: slower, less memory where torch has no fused attention.
    compute.ATTENTION_SLICING = False
    # Decoding by the VAE of one image at a time.
    compute.VAE_SLICING = False
    # Decoding by the VAE of one tile of a large image at a time.
    compute.VAE_TILING = False


def _add_identities(generation: CfgNode) -> None:
    identities = generation.IDENTITIES = CN()
    # Maximum number of reference images of an identity, on which a model is fine-tuned; 0 = no
    # limit.
    identities.MAX_IMAGES = 20
    # Minimum number of usable images; an identity with fewer is left out, with the reason in
    # identities.jsonl.
    identities.MIN_IMAGES = 2
    # References from one camera, the one with most images, in the order of their frames
    # ("consecutive images of one ID from the same camera" in the paper).
    identities.SAME_CAMERA = True
    # Maximum gap in frames within a tracklet under SAME_CAMERA; the longest tracklet is taken
    # (frame numbers of file names, 25 a second in Market-1501). 0 = all images of a camera are one
    # tracklet.
    identities.MAX_FRAME_GAP = 0
    # Minimum height of a reference image in pixels; 0 = no limit.
    identities.MIN_HEIGHT = 64
    # Minimum sharpness of a reference image: variance of the Laplacian of the grey image (grey
    # levels squared); blurred images are below about 20. 0 = no limit.
    identities.MIN_SHARPNESS = 0.0
    # Number of identities, the first by name; 0 = all.
    identities.LIMIT = 0


def _add_captions(generation: CfgNode) -> None:
    captions = generation.CAPTIONS = CN()
    # Hub id or local folder of the captioner: BLIP-2, BLIP, or another image-to-text model of
    # transformers.
    captions.CAPTIONER = "Salesforce/blip2-opt-2.7b"
    # Revision of CAPTIONER on the hub (branch, tag or commit); "" = main.
    captions.REVISION = ""
    # Questions to the captioner about each image, one answer each; "" = an unprompted caption.
    captions.QUESTIONS = [
        "Question: what clothes is the person wearing, and in what colours? Answer:",
        "Question: what is the person carrying? Answer:",
        "Question: what is the person doing? Answer:",
    ]
    # Maximum number of tokens of an answer.
    captions.MAX_TOKENS = 40
    # Number of beams of the search.
    captions.BEAMS = 5
    # Number of images captioned at once.
    captions.BATCH_SIZE = 16
    # Maximum number of captioned images of an identity, spread over its references; 0 = no limit.
    captions.MAX_IMAGES = 8
    # Rule that makes one caption of an identity's captions: "medoid", the caption nearest to the
    # others by CLIP's text features, or "vote", the most frequent answer to each question.
    captions.AGGREGATION = "medoid"
    # Hub id or local folder of the CLIP model that compares texts (captions, and prompts for the
    # clusters of the reference set).
    captions.TEXT_MODEL = "openai/clip-vit-large-patch14"


def _add_prompt(generation: CfgNode) -> None:
    prompt = generation.PROMPT = CN()
    # Template of the prompt: {token} is the identity token (IIR in the paper), {caption} the
    # caption of the identity. The reference prompt is the same without the token.
    prompt.TEMPLATE = "a photo of {token} person, {caption}"
    # Rare token of the vocabulary, shared by all identities because each has its own weights; "" =
    # no identity token.
    prompt.TOKEN = "sks"
    # A new token for each identity in place of TOKEN, whose embedding is trained from TOKEN's.
    prompt.TRAIN_TOKEN = False


def _add_reference_set(generation: CfgNode) -> None:
    reference = generation.REFERENCE_SET = CN()
    # Number of images that the untouched model generates for the reference prompt (ARS in the
    # paper, 200); 0 = no prior preservation.
    reference.IMAGES = 200
    # Minimum cosine similarity in [-1, 1] (CLIP text features) of reference prompts that share one
    # set; 1 = only equal prompts.
    reference.MIN_SIMILARITY = 0.9


def _add_fine_tuning(generation: CfgNode) -> None:
    tuning = generation.FINE_TUNING = CN()
    # Method of fine-tuning: "lora" trains low-rank adapters of the U-Net, "full" the whole U-Net,
    # as in the paper.
    tuning.METHOD = "lora"
    # Rank of the adapters, r of peft's LoraConfig.
    tuning.RANK = 8
    # Scale of the adapters, lora_alpha of peft's LoraConfig.
    tuning.ALPHA = 8
    # Names of the modules with adapters, target_modules of peft's LoraConfig.
    tuning.TARGET_MODULES = ["to_q", "to_k", "to_v", "to_out.0"]
    # Training of the text encoder under METHOD full, as the paper's learning rate suggests.
    tuning.TEXT_ENCODER = False
    # Number of optimizer steps.
    tuning.STEPS = 1000
    # Number of the identity's images in a micro-batch, to which as many of the reference set are
    # added.
    tuning.BATCH_SIZE = 1
    # Number of micro-batches whose gradients are accumulated for one step.
    tuning.GRADIENT_ACCUMULATION = 1
    # Learning rate of AdamW, constant; 2e-6 for METHOD full in the paper.
    tuning.BASE_LR = 1e-4
    # Weight decay of AdamW.
    tuning.WEIGHT_DECAY = 0.01
    # Maximum norm of an identity's gradient; 0 = not clipped.
    tuning.MAX_GRAD_NORM = 1.0
    # Weight of the prior-preservation term, lambda of eq. 1.
    tuning.PRIOR_WEIGHT = 1.0
    # Quantity that eq. 1 compares: "prediction" = the model's output (the noise, or the velocity of
    # a v-prediction model), unweighted as in diffusers' DreamBooth script; "sample" = the clean
    # latent, weighted by w_t = alpha_t^2 / sigma_t^2 capped at MAX_SAMPLE_WEIGHT.
    tuning.LOSS_ON = "prediction"
    # Cap of w_t under LOSS_ON sample.
    tuning.MAX_SAMPLE_WEIGHT = 5.0
    # Number of identities whose adapters are trained together, in one batch on the one frozen
    # U-Net, under METHOD lora. Their results do not depend on each other.
    tuning.IDENTITIES_AT_ONCE = 8
    # Recomputation of activations in the backward pass: half the memory, a third more time.
    tuning.GRADIENT_CHECKPOINTING = False
    # Weights of METHOD full on disk after the identity's images are generated (3.4 GB each with SD
    # v1). False: images are generated from the modules in memory, and a larger IMAGES_PER_IDENTITY
    # later fine-tunes the identities again.
    tuning.KEEP_FULL_WEIGHTS = False
    # Adapters on disk after the identity's images are generated. False: they are removed, and a
    # larger IMAGES_PER_IDENTITY later fine-tunes the identities again.
    tuning.KEEP_ADAPTERS = True
    # Dtype of stored adapters: "float32", "bfloat16" or "float16". With DTYPE bfloat16, bfloat16
    # halves the files and changes no image, since adapters are rounded to DTYPE for sampling.
    tuning.ADAPTER_DTYPE = "float32"


def _add_sampling(generation: CfgNode) -> None:
    sampling = generation.SAMPLING = CN()
    # Number of images generated of each identity. It may grow later: the missing ones are added.
    sampling.IMAGES_PER_IDENTITY = 150
    # Number of an identity's images that must pass the filters; more are generated until then. 0 =
    # no such rule.
    sampling.MIN_KEPT = 0
    # Maximum number of images generated of an identity under MIN_KEPT.
    sampling.MAX_IMAGES_PER_IDENTITY = 600
    # Name of a scheduler class of diffusers.
    sampling.SCHEDULER = "DDIMScheduler"
    # Number of denoising steps of an image.
    sampling.STEPS = 50
    # Scale of classifier-free guidance; up to 1 = no guidance.
    sampling.GUIDANCE_SCALE = 7.5
    # Prompt of the unconditional prediction.
    sampling.NEGATIVE_PROMPT = ""
    # Templates of the prompts of an identity's images, used in turn (scenes, actions, views,
    # clothes): {prompt} is the prompt of fine-tuning, {token} and {caption} are those of
    # PROMPT.TEMPLATE, e.g. "{prompt}, seen from behind" or "a photo of {token} person in a black
    # coat, in a station". [] = the prompt of fine-tuning alone.
    sampling.PROMPTS = []
    # Text file with one template a line, in place of PROMPTS; "" = none.
    sampling.PROMPTS_FILE = ""
    # Number of images generated at once, across identities.
    sampling.BATCH_SIZE = 16
    # Height and width of the image files in pixels.
    sampling.SAVE_SIZE = [256, 128]
    # Way from a generated image to SAVE_SIZE: "resize", or "crop" around the centre to the aspect
    # ratio of SAVE_SIZE, then resize.
    sampling.RESIZE_MODE = "resize"
    # Hub id or local folder of a LoRA for few steps (LCM-LoRA and the like), applied together with
    # the adapter of the identity and for reference sets; "" = none.
    sampling.FEW_STEP_ADAPTER = ""
    # Format of the image files: "jpg" or "png".
    sampling.FORMAT = "jpg"
    # Quality of JPEG files, 1 to 95.
    sampling.QUALITY = 95


def _add_filter(generation: CfgNode) -> None:
    filters = generation.FILTER = CN()
    # Filters that decide, of "reid", "cctf", "clip" and "duplicates"; scores of the others are only
    # recorded.
    filters.USE = ["reid"]
    # Maximum images kept per identity, ranked by the first filter in USE; 0 = no limit.
    filters.MAX_PER_IDENTITY = 0
    # Minimum images kept per identity: the best by the first filter in USE are kept although a
    # filter rejects them, but no near-duplicates with "duplicates" in USE; 0 = no limit.
    filters.MIN_PER_IDENTITY = 0
    # Number of images scored at once.
    filters.BATCH_SIZE = 64

    # Re-ID filter (Re-ID CTF in the paper).
    reid = filters.REID = CN()
    # Configuration of a model trained on the source set.
    reid.CONFIG_FILE = ""
    # Checkpoint of that model.
    reid.WEIGHTS = ""
    # One model for each source set, as in the paper: [data set, configuration, checkpoint], ...;
    # CONFIG_FILE and WEIGHTS judge the sets that are not listed. Identities of a listed set are
    # compared with those of this set alone.
    reid.MODELS = []
    # Rule for the minimum cosine similarity to the mean feature of the identity's real images.
    # "nearest": no minimum, NEAREST alone decides. "percentile": PERCENTILE of such similarities of
    # real images that the model was not trained on (the test images, if it was trained on the set),
    # each to the mean of the others of its identity. "fixed": THRESHOLD.
    reid.RULE = "nearest"
    # Percentile in [0, 100]; at 10, a tenth of those real images would be rejected.
    reid.PERCENTILE = 10.0
    # Minimum cosine similarity in [-1, 1] under RULE fixed.
    reid.THRESHOLD = 0.6
    # Rejection of images whose nearest mean feature is that of another identity.
    reid.NEAREST = True

    # Classification filter: softmax probability of the right identity.
    cctf = filters.CCTF = CN()
    # Configuration of a model trained on the source set.
    cctf.CONFIG_FILE = ""
    # Checkpoint of that model.
    cctf.WEIGHTS = ""
    # Minimum probability in [0, 1].
    cctf.THRESHOLD = 0.5

    # CLIP filter: softmax probability of the first text.
    clip = filters.CLIP = CN()
    # Hub id or local folder of a CLIP model.
    clip.MODEL = "openai/clip-vit-large-patch14"
    # Texts that an image is compared with; the first describes a good image.
    clip.TEXTS = ["a photo of a person", "a photo of an empty street", "a blurred picture of noise"]
    # Minimum probability in [0, 1].
    clip.THRESHOLD = 0.5

    duplicates = filters.DUPLICATES = CN()
    # Minimum Hamming distance, in bits of 64, between the perceptual hashes of an image and of
    # every kept image of the identity that is better by the first filter in USE.
    duplicates.MIN_DISTANCE = 4
