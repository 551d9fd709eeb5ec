"""Keys of ``MODEL``: weights, backbones, heads, losses, contrast, diffusion branch."""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN


def add_model_keys(model: CfgNode) -> None:
    """Add our keys to ``MODEL``."""
    # Least share in [0, 1] of the model's tensors that the file of MODEL.WEIGHTS holds in equal
    # shape; with less, the run does not start (fastreid warns). Classification layers of another
    # number of classes do not count. Lower it to start from the weights of a different model.
    model.MIN_WEIGHTS_MATCHED = 0.9
    # Search for parameters without gradient in each step of a run with several processes, which
    # costs a pass over the graph. Needed where a step leaves parameters out; a meta-architecture
    # that always does so sets its attribute `find_unused_parameters` instead.
    model.FIND_UNUSED_PARAMETERS = False
    # Consecutive images that share the batch statistics of BN in training; 0 = all of a process.
    # Equal groups make a run independent of its number of GPUs: 16 is a batch of 64 on four.
    model.BN_GROUP = 0
    _add_domain_norm(model)
    _add_batch_instance_norm(model)
    _add_backbone(model.BACKBONE)
    _add_heads(model.HEADS)
    _add_losses(model.LOSSES)
    _add_domain_losses(model.LOSSES)
    _add_moco(model)
    _add_byol(model)
    _add_ice(model)
    _add_hcd(model)
    _add_unrn(model)
    _add_glt(model)
    _add_diffusion(model)


def _add_domain_norm(model: CfgNode) -> None:
    domain_norm = model.DOMAIN_BN = CN()
    # Batch normalisation of its own for source and target images (and, in IDM, for mixed ones);
    # evaluated images are normalised as target images. For DATASETS.SOURCES.
    domain_norm.ENABLED = False
    # Bias of the neck: "frozen" at 0, as in Bag of Tricks, or "trained", as in the released codes
    # of IDM, UNRN, GLT and HCD, whose conversion forgets that it is frozen.
    domain_norm.NECK_BIAS = "frozen"
    model.IDM = CN()
    # Stage of the backbone after which IDM mixes source and target images, 1 to 4; 0 = after the
    # stem; -1 = not at all.
    model.IDM.STAGE = 0


def _add_batch_instance_norm(model: CfgNode) -> None:
    mixed = model.BIN = CN()
    # Batch-instance normalisation in place of the backbone's batch normalisation (MetaBIN).
    mixed.ENABLED = False
    # Start value of the gates in [0, 1]: 1 = batch normalisation, 0 = instance normalisation.
    mixed.GATE = 1.0
    # What trains the gates: "meta" = MetaBIN's steps, see SOLVER.META; "loss" = the ordinary loss;
    # "nothing" = they stay at GATE.
    mixed.TRAINED_BY = "meta"


def _add_backbone(backbone: CfgNode) -> None:
    # Of fastreid's keys: FEAT_DIM, the number of channels of the feature map, is the width of the
    # backbone at 0, and a wrong number is refused. DEPTH is the size of every backbone but timm's.
    # DROP_PATH_RATIO, DROP_RATIO and ATT_DROP_RATE, in [0, 1), are read by Swin and the ViTs.
    # PRETRAIN_PATH is a file, a folder in the layout of the hubs, or "hf-hub:owner/name", the only
    # one that uses the network.

    # Name of the timm model of build_timm_backbone, e.g. "convnext_tiny"; never downloaded.
    backbone.TIMM_NAME = ""
    # Output of a ViT: "class" = the class token, "patch" = the map of patch tokens (CLIP: each
    # projected like the class token), "" = "class" under GlobalAvgPool in Baseline, "patch" where
    # pooling or parts need a map.
    backbone.TOKENS = ""
    # Fixed patch projection, the first layer of a ViT (as in MoCo v3 and DCAC).
    backbone.FREEZE_PATCH_EMBED = False
    # Activation of build_clip_vit_backbone: True = x * sigmoid(1.702 x), for OpenAI's weights (and
    # models whose open_clip name ends in "quickgelu"); False = GELU, for LAION's and DataComp's. A
    # weight file does not tell which; the wrong one costs accuracy without an error.
    backbone.QUICK_GELU = True
    # Share in [0, 1] of semantics against appearance, lambda of SOLIDER, for its Swin (0.2 for
    # Re-ID in the paper); -1 = a plain Swin.
    backbone.SEMANTIC_WEIGHT = -1.0
    # Family of the weight file of PRETRAIN_PATH (docs/pretrained.md lists them); a file of another
    # family is refused. "" = recognised by the names of its tensors.
    backbone.PRETRAIN_FAMILY = ""
    # Least share in [0, 1] of the backbone's tensors that the file holds in equal shape, and of the
    # file's tensors that the backbone has; with less, the run does not start. Layers that no such
    # file holds (non-local blocks, ...), classifiers and text towers do not count.
    backbone.MIN_PRETRAIN_MATCHED = 0.9


def _add_heads(heads: CfgNode) -> None:
    bdb = heads.BDB = CN()
    # Share in (0, 1] of the rows of the feature map that BatchDrop zeroes in training, r_h.
    bdb.DROP_HEIGHT = 0.33
    # Share in (0, 1] of its columns, r_w; 1 makes the rectangle a stripe.
    bdb.DROP_WIDTH = 1.0
    # Dimension of the feature of the global branch.
    bdb.GLOBAL_DIM = 512
    # Dimension of the feature of the part branch.
    bdb.PART_DIM = 1024

    heads.PROJECTION = CN()
    # Width of the hidden layer of ProjectionHead; 0 = the width of the feature map. Its output has
    # MODEL.HEADS.EMBEDDING_DIM channels.
    heads.PROJECTION.HIDDEN_DIM = 0
    # Batch normalisation after the hidden layer of ProjectionHead, as in BYOL.
    heads.PROJECTION.WITH_NORM = False

    # Number of stripes of the map, from top to bottom, that StripeHead pools and classifies.
    heads.STRIPES = 3


def _add_losses(losses: CfgNode) -> None:
    losses.JS = CN()
    # Weight of JSConsistencyLoss in the total loss; 12 in CIL, 1 - alpha in DAPG. The branches of
    # BDB and MGN share it equally.
    losses.JS.SCALE = 1.0
    # Distribution of a view under ContrastivePretrain: softmax of its cosine similarities to the
    # "negatives", or of the "channels" of its embedding; both are divided by the temperature of
    # MULTI_POSITIVE.
    losses.JS.OVER = "negatives"
    losses.MULTI_POSITIVE = CN()
    # Weight of MultiPositiveContrastiveLoss in the total loss; alpha of DAPG. The branches of BDB
    # and MGN share it equally.
    losses.MULTI_POSITIVE.SCALE = 1.0
    # Temperature tau, above 0, by which cosine similarities are divided.
    losses.MULTI_POSITIVE.TEMPERATURE = 0.7
    losses.BYOL = CN()
    # Weight of BYOLLoss in the total loss.
    losses.BYOL.SCALE = 1.0
    losses.NT_XENT = CN()
    # Weight of NTXentLoss in the total loss.
    losses.NT_XENT.SCALE = 1.0
    # Temperature tau of SimCLR, above 0, by which cosine similarities are divided.
    losses.NT_XENT.TEMPERATURE = 0.1
    weighted = losses.WEIGHTED_TRIPLET = CN()
    # Weight of WeightedTripletLoss, AGW's triplets without a margin, in the total loss. fastreid's
    # TripletLoss with TRI.MARGIN 0 and HARD_MINING False is the same except that its negatives lose
    # their weight at distances above 14.
    weighted.SCALE = 1.0
    # CAJ's variant: the squared difference of the two weighted distances, with its sign.
    weighted.SQUARED = False
    # Largest squared difference, above 0. An anchor at this limit has no gradient.
    weighted.CLAMP = 88.0
    prototype = losses.PROTOTYPE = CN()
    # Weight of PrototypeContrastLoss in the total loss.
    prototype.SCALE = 1.0
    # Temperature tau_m, above 0, by which cosine similarities to the prototypes are divided.
    prototype.TEMPERATURE = 0.01
    # Share in [0, 1] of a prototype that stays when a batch updates it.
    prototype.MOMENTUM = 0.2
    contrast = losses.CLUSTER_CONTRAST = CN()
    # Weight of ClusterContrastLoss in the total loss.
    contrast.SCALE = 1.0
    # Temperature tau, above 0, by which cosine similarities to the centroids are divided.
    contrast.TEMPERATURE = 0.05
    # Share m in [0, 1] of a centroid that stays in an update.
    contrast.MOMENTUM = 0.1
    # Update of a centroid after each step: "sequential" = by its features in the batch one after
    # the other, "hard" = by the least similar one, "mean" = by their mean, "random" = by one of
    # them.
    contrast.UPDATE = "sequential"
    hybrid = losses.HYBRID_CONTRAST = CN()
    # Weight of HybridContrastLoss, HHCL's, in the total loss.
    hybrid.SCALE = 1.0
    # Temperature, above 0, by which cosine similarities to the centroids are divided.
    hybrid.TEMPERATURE = 0.05
    # Share in [0, 1] of a centroid that stays in an update.
    hybrid.MOMENTUM = 0.1
    # Weight of the contrast to hard centroids, mu in the paper.
    hybrid.HARD_WEIGHT = 0.5
    # Weight of the contrast to mean centroids: 1 - mu in the paper, mu (1 - mu) = 0.25 in the code.
    hybrid.MEAN_WEIGHT = 0.5
    ice = losses.ICE = CN()
    # Temperature, above 0, by which products with the centroids are divided.
    ice.PROXY_TEMPERATURE = 0.5
    # Share in [0, 1) of the labels that is spread evenly over all clusters.
    ice.SMOOTHING = 0.1
    # Temperature, above 0, of the contrast with the hardest image of the own cluster.
    ice.HARD_TEMPERATURE = 0.1
    # Temperature, above 0, of the similarities that should be those of the weak views.
    ice.SOFT_TEMPERATURE = 0.4
    # Weight of that term in ICELoss.
    ice.SOFT_SCALE = 10.0
    pplr = losses.PPLR = CN()
    # Share in [0, 1] of the label in that of the whole image; the rest is what its parts predict.
    pplr.BETA = 0.5
    # Number of nearest images by which a part and the whole image agree.
    pplr.NEIGHBOURS = 20
    # Epoch from which on agreements weigh the labels of the parts.
    pplr.START_EPOCH = 5
    # Share in [0, 1) of the labels of parts that is spread over all clusters before that epoch.
    pplr.SMOOTHING = 0.1
    camera = losses.CAMERA_PROXY = CN()
    # Weight of CameraProxyLoss in the total loss.
    camera.SCALE = 0.5
    # Temperature, above 0, by which cosine similarities to the proxies are divided.
    camera.TEMPERATURE = 0.07
    # Number of most similar proxies of other clusters that count as negatives.
    camera.NEGATIVES = 50
    # What has length 1: each "proxy", or each "dimension" over all proxies, as in ICE's code.
    camera.NORMALISED = "proxy"
    instances = losses.INSTANCE_CONTRAST = CN()
    # Weight of InstanceContrastLoss, SpCL's, in the total loss.
    instances.SCALE = 1.0
    # Temperature, above 0, by which cosine similarities to the images of the memory are divided.
    instances.TEMPERATURE = 0.05
    # Share in [0, 1] of an image's row that stays in an update.
    instances.MOMENTUM = 0.2


def _add_domain_losses(losses: CfgNode) -> None:
    bridge = losses.BRIDGE = CN()
    # Weight in [0, 1] of IDM's bridge loss on predictions, mu_1; cross-entropy has 1 - mu_1.
    bridge.PREDICTION_WEIGHT = 0.7
    # Weight of IDM's bridge loss on features, mu_2.
    bridge.FEATURE_WEIGHT = 0.1
    # Weight of the diversity of IDM's shares, mu_3.
    bridge.DIVERSITY_WEIGHT = 1.0
    bank = losses.BANK_TRIPLET = CN()
    # Weight of BankTripletLoss, the hardest triplets among features of past batches (XBM).
    bank.SCALE = 1.0
    # Distance by which a negative should be farther than a positive.
    bank.MARGIN = 0.3
    # Features that are kept, as a multiple of the number of training images of both domains.
    bank.RATIO = 1.0
    # Remove the clusters of the previous epoch from the bank before each clustering. False keeps
    # them under their old numbers, which now name other clusters, as in the released code of IDM.
    bank.CLEAN = True
    diversity = losses.CAMERA_DIVERSITY = CN()
    # Factor of the normalised entropy of a cluster's cameras in the cluster's weight under CaCL,
    # which is 1 for clusters of one camera; 0 = all clusters weigh the same.
    diversity.STRENGTH = 1.0
    # Division of the weights by their mean over the clusters.
    diversity.NORMALISED = True

    unrn = losses.UNRN = CN()
    # Weight of the cross-entropy of the source in UNRNLoss; 0 in UNRN's code.
    unrn.SOURCE_SCALE = 1.0
    # Share in [0, 1) of the labels that is spread evenly over all classes; 0 in UNRN's code.
    unrn.SMOOTHING = 0.1
    # Weight of the triplets.
    unrn.TRIPLET_SCALE = 1.0
    # Weight of the mean uncertainty, which keeps the weights of images from falling to 0.
    unrn.UNCERTAINTY_SCALE = 1.0
    # Weight of the circle loss of target images against the memory.
    unrn.CONTRAST_SCALE = 0.05
    # Weight of the circle loss of source images against the centres of the source, 1 / 18.
    unrn.CENTRE_SCALE = 0.0556
    # Relaxation of the circle losses in [0, 1].
    unrn.MARGIN = 0.25
    # Scale of their cosine similarities, above 0.
    unrn.GAMMA = 128.0


def _add_byol(model: CfgNode) -> None:
    byol = model.BYOL = CN()
    # Share in [0, 1) of the target network of BYOLPretrain that stays in each step, tau of BYOL.
    # Constant, where BYOL raises 0.996 to 1.
    byol.MOMENTUM = 0.996


def _add_hcd(model: CfgNode) -> None:
    hcd = model.HCD = CN()
    # Nearest rows of the memory that an image of the batch looks at, itself included.
    hcd.NEIGHBOURS = 64
    # Nearest of these that may be linked with one; the same for groups of images.
    hcd.LINKED = 20
    hcd.GROUPS_LINKED = 30
    # Cosine similarity above which they are linked.
    hcd.FLOOR = 0.45
    # Score above which an image joins another, and groups are merged.
    hcd.THRESHOLD = 0.25
    # Images around which a group is split: "farthest" = far from each other, "density" = the
    # densest, and those between 0.4 and 0.8 similar to a denser one. The code has both.
    hcd.ANCHORS = "farthest"
    # Largest number of parts of a group that is split; a group needs more images to be split.
    hcd.PARTS = 8


def _add_unrn(model: CfgNode) -> None:
    unrn = model.UNRN = CN()
    # "paper" = a weight of each image and triplet; "code" = what the released code computes: one
    # weight for the batch, triplets towards equal distances, pairs of the contrast without weights,
    # classifiers that begin each clustering at random.
    unrn.FORM = "paper"
    # Neck and classifier for the maps of the third stage of a ResNet, whose logits are compared
    # with the teacher's too.
    unrn.SIDE_HEAD = False
    # Linear layer and batch normalisation behind the neck for the features in the memory.
    unrn.MEMORY_HEAD = False
    # Number of target features in the memory, the newest ones.
    unrn.MEMORY = 8192
    # Largest share in [0, 1) of the teacher that stays in a step t; 1 - 1 / (t + 1) before.
    unrn.MOMENTUM = 0.999
    # Share in [0, 1] of a centre of the source that stays when a feature moves it.
    unrn.CENTRE_MOMENTUM = 0.2


def _add_glt(model: CfgNode) -> None:
    glt = model.GLT = CN()
    # Numbers of clusters of the k-means clusterings, each a group with a classifier of its own. GLT
    # has these for Market-1501; for MSMT17 no numbers are known.
    glt.CLUSTERS = [600, 700, 800]
    # Place in CLUSTERS, from 0, of the group whose labels batches and triplets have.
    glt.CHOSEN = 1
    # Exponent lambda, above 0, of the teacher's predictions in the transport plan.
    glt.SHARPNESS = 25.0
    # Runs of k-means with other first centres, of which the best one counts.
    glt.STARTS = 1
    # Share in [0, 1) of the features behind the neck that the classifiers do not see in a step.
    glt.DROPOUT = 0.2
    # Largest share in [0, 1) of the teacher that stays in a step t; 1 - 1 / (t + 1) before.
    glt.MOMENTUM = 0.999
    # Checkpoint of an earlier run of equal CLUSTERS, whose teacher's features make the first
    # clusters of this one; "" = those of the model with which this run begins.
    glt.PREVIOUS_RUN = ""


def _add_ice(model: CfgNode) -> None:
    ice = model.ICE = CN()
    # Share in [0, 1) of the teacher that stays in each step, constant.
    ice.MOMENTUM = 0.999
    # Pass of the first view through the teacher, whose features no loss uses, so that its running
    # statistics are those of ICE's code. False saves that pass.
    ice.FIRST_VIEW_SEEN = True


def _add_moco(model: CfgNode) -> None:
    moco = model.MOCO = CN()
    # Number of keys of earlier batches that ContrastivePretrain keeps as negatives (65536 in
    # LUPerson's MoCo); 0 = the keys of the other images of the batch, of all processes. Each image
    # leaves three keys, so a queue of more than three times the training images holds an image's
    # own keys among its negatives.
    moco.QUEUE = 0
    # Share in [0, 1) of the key encoder that stays in each step, m of MoCo.
    moco.MOMENTUM = 0.999


def _add_diffusion(model: CfgNode) -> None:
    # Diffusion branch of DCAC: in training, a Stable Diffusion denoises the latent of each image,
    # conditioned on what the Re-ID model says of the image. Nothing of it is left in evaluation.
    diffusion = model.DIFFUSION = CN()
    diffusion.ENABLED = False
    # Weight of the denoising loss in the total loss, lambda.
    diffusion.SCALE = 1.0
    # Hub id or local folder of a Stable Diffusion pipeline in diffusers' layout, which must predict
    # noise.
    diffusion.BASE_MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    # Revision of BASE_MODEL on the hub (branch, tag or commit); "" = main.
    diffusion.REVISION = ""
    # Permission to download the model. False: only local folders and the hub's cache are read.
    diffusion.DOWNLOAD = False
    # Random weights instead of a file, for tests and for counts of parameters: in the architecture
    # of BASE_MODEL if that is a folder, else in that of Stable Diffusion 1.5.
    diffusion.RANDOM_WEIGHTS = False
    # Trained part of the U-Net: "lora" = low-rank adapters, "frozen" = none, "partial1" = time
    # embedding, up blocks and last convolution, "partial2" = these and the middle block, "full" =
    # all, "scratch" = all, from random weights.
    diffusion.UNET = "lora"
    # Rank of the adapters of "lora"; 8 for Market-1501, DukeMTMC and CUHK03 in DCAC, 32 for
    # MSMT17 and for several sources.
    diffusion.RANK = 8
    # Condition of the U-Net: "correlation" = softmax(logits / TEMPERATURE) times a learned prompt
    # of each identity, "class" = the prompt of the image's own identity, "instance" = the
    # normalised feature times a learned matrix.
    diffusion.CONDITION = "correlation"
    # Temperature tau, above 0, of the softmax of "correlation"; 0.6 for Market-1501 and DukeMTMC in
    # DCAC, 0.1 for CUHK03, 1.0 for MSMT17 and for several sources.
    diffusion.TEMPERATURE = 1.0
    # Layers between condition and U-Net: "identity" (none), "silu", "bn", "bn_silu", or
    # "condition_net" = batch normalisation, SiLU and linear layer, twice.
    diffusion.BOTTLENECK = "identity"
    # Target of the U-Net: "noise" = the noise in a noisy latent, or, as a control without
    # denoising, "latent" = the clean latent from the condition alone.
    diffusion.TARGET = "noise"
    # Folder in which the VAE's latents of all training images are kept; "" = the VAE encodes the
    # clean images of every batch. INPUT.CLEAN_VIEW.SIZE is the size of the encoded images.
    diffusion.LATENT_CACHE = ""
    # Dtype of frozen weights: "float32", "bfloat16" or "float16". The U-Net then computes under
    # autocast to it. Trained parameters stay in float32.
    diffusion.DTYPE = "float32"
    # Cross-attention to the single token of the condition without queries and keys, which the
    # softmax over one key makes useless. Equal results; False computes them all the same.
    diffusion.SINGLE_TOKEN_ATTENTION = True
    # Channels-last memory layout of the U-Net's frozen kernels; faster on GPUs since Volta.
    diffusion.CHANNELS_LAST = False
    # Backend of torch.compile for the U-Net, usually "inductor"; "" = not compiled.
    diffusion.COMPILE = ""
