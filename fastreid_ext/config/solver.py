"""Keys of ``SOLVER``: precision, schedule, optimizer options per part, checks of the updates."""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN


def add_solver_keys(solver: CfgNode) -> None:
    """Add our keys to ``SOLVER``."""
    # Dtype of mixed precision (SOLVER.AMP.ENABLED) on any device: "float16" scales the loss, as in
    # fastreid; "bfloat16" has the range of float32 and needs no scaling, but 3 bits less; "" =
    # float16 on a GPU and bfloat16 on the CPU, where float16 is many times slower.
    solver.AMP.DTYPE = ""
    # Iterations between two lines on the console and in metrics.json (200 in fastreid).
    solver.LOG_PERIOD = 20
    # Number of updates at the start of a run after which it is checked that gradients exist and
    # parameters moved; 0 = no check.
    solver.GRADIENT_CHECK_STEPS = 3
    solver.NON_FINITE = CN()
    # Maximum number of steps with a NaN or infinite loss that a run may skip (weights untouched,
    # images named in the log) before it stops with an error; 0 = stop at the first, as fastreid.
    solver.NON_FINITE.MAX_SKIPPED = 0
    # Iterations of an epoch, the unit of schedules, periods and resuming; 0 = as many as the
    # training images fill (with OncePerIdentitySampler the identities).
    solver.ITERS_PER_EPOCH = 0
    # Options of parts of the model: a list of {"name": ..., "lr_factor": ..., "weight_decay": ...,
    # <option of SOLVER.OPT>: ...}. "name" is read like MODEL.FREEZE_LAYERS: a whole name from the
    # beginning, or a regular expression. "lr_factor" multiplies the rate, on top of the factors of
    # biases and heads; the other options replace. Of several entries that match a parameter the
    # later one wins (factors multiply).
    solver.PARAM_GROUPS = []
    solver.EMA = CN()
    # Share in [0, 1) of the exponential moving average of the weights that stays in each step, e.g.
    # 0.9999; 0 = no average. Written as model_ema.pth when training ends; evaluations during
    # training use the model itself.
    solver.EMA.DECAY = 0.0
    # Epochs of warm-up, whatever the size of the training set; above 0 it replaces WARMUP_ITERS.
    # The rate still rises with each iteration. STEPS are then epochs of the run, as papers count
    # them; with WARMUP_ITERS they are, as in fastreid, epochs after the warm-up.
    solver.WARMUP_EPOCHS = 0

    # SOLVER.SCHED StairWarmupLR (BDB): the rate climbs to BASE_LR in COUNT equal steps of EPOCHS
    # epochs, then is multiplied by GAMMA after each of STEPS finished epochs, as with MultiStepLR.
    # It counts its stairs from epoch 1 (the paper: floor(epoch / 5) + 1), so the first is an epoch
    # shorter.
    stairs = solver.STAIRS = CN()
    # Number of stairs up to BASE_LR.
    stairs.COUNT = 10
    # Epochs of a stair.
    stairs.EPOCHS = 5

    # Meta-training of the gates of MODEL.BIN: half of IMS_PER_BATCH trains the network, the other
    # half, with equally many persons of each domain of DATALOADER.DOMAINS, the gates.
    meta = solver.META = CN()
    # Learning rate of the gates, constant.
    meta.GATE_LR = 0.1
    # Epochs of a cycle of the inner rate, GATE_LR times 0.001 to 0.1; 0 = GATE_LR times 0.01.
    meta.CYCLE_EPOCHS = 5
    # Domains of a step that are meta-test; the others are meta-train.
    meta.TEST_DOMAINS = 2
    # Meta-train losses, of equal weight: "triplet", "scatter", "shuffle", "cross_entropy". The last
    # one joins the triplet loss of meta-test too; the paper has it with a single data set.
    meta.LOSSES = ["triplet", "scatter", "shuffle"]
