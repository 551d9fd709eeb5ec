"""Keys of ``GENERATION.POSE_GUIDED``: the pose-guided generator (tools/pose_persons.py train).

``GENERATION.BASE_MODEL``, ``VAE`` and ``DOWNLOAD`` name the models it starts from.
"""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN


def add_pose_guided_keys(generation: CfgNode) -> None:
    """Add our keys to ``GENERATION.POSE_GUIDED``."""
    guided = generation.POSE_GUIDED = CN()
    # Folder of a trained generator to start from, such as stage 1's; "" = GENERATION.BASE_MODEL.
    guided.START = ""
    # Hub id or local folder of a CLIP model whose image embedding is the context; "" = that of
    # GENERATION.BASE_MODEL (lambdalabs/sd-image-variations-diffusers has one).
    guided.IMAGE_ENCODER = ""
    # Hub id or local folder of a ControlNet whose condition embedding the pose guiders start from;
    # "" = random weights.
    guided.CONTROLNET = ""
    # Way in which depth, normals and skeleton are joined: "concat" = a guider for each,
    # concatenated and projected by a zero convolution; "sum" = summed; "joint" = one guider over
    # all channels.
    guided.COMBINE = "concat"
    # Random weights for both U-Nets (row V of the paper's ablation).
    guided.RANDOM_UNETS = False
    # SMPL file of the body that the fits are of; "" = the free body, as in rendered sets.
    guided.BODY_MODEL = ""
    # Body fits of each set of DATASETS.NAMES (docs/body_fits.md); [] = body_fits.npz in their
    # folders.
    guided.FITS = []
    # Height and width in pixels of the images the generator makes, multiples of 8.
    guided.SIZE = [384, 192]
    # Reference and target: "identity" = two images of one identity, of different cameras where it
    # has several (stage 2); "frames" = two frames of one identity and camera (stage 1).
    guided.PAIRS = "identity"
    # Minimum number of frames between reference and target under PAIRS frames.
    guided.MIN_GAP = 30
    # Number of crops of each image, the whole image among them; each is encoded once.
    guided.CROPS = 4
    # Smallest edge of a random crop as a share of the image's, in (0, 1].
    guided.CROP_SCALE = 0.9
    # Images in a step of all processes together.
    guided.BATCH_SIZE = 4
    # Number of optimizer steps.
    guided.ITERATIONS = 30000
    # Learning rate of AdamW, constant.
    guided.BASE_LR = 1e-5
    # Weight decay of AdamW.
    guided.WEIGHT_DECAY = 0.01
    # Maximum norm of the gradient; 0 = not clipped.
    guided.MAX_GRAD_NORM = 1.0
    # Probability of a row without reference and context, for classifier-free guidance.
    guided.DROP_CONDITION = 0.1
    # Noise schedule that ends in pure noise, with prediction of the velocity and trailing steps.
    guided.ZERO_SNR = False
    # Cap gamma of the min-SNR weight of the loss; 0 = unweighted.
    guided.MIN_SNR = 0.0
    # Decay of the average of the weights that samples and the final generator use; 0 = none.
    guided.EMA = 0.999
    # Recomputation of activations in the backward pass: less memory, a third more time.
    guided.GRADIENT_CHECKPOINTING = False
    # Processes that render condition maps; 0 renders between the steps.
    guided.WORKERS = 4
    # Steps between two checkpoints, and between two pictures of samples.
    guided.CHECKPOINT_PERIOD = 1000
    guided.SAMPLE_PERIOD = 1000
