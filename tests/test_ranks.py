"""Which process of a run this one is, by the variables of torchrun and Slurm."""

import pytest

from fastreid_ext.ranks import SLURM, TORCHRUN, Ranks, first_host, read_ranks, rendezvous_address

# As srun sets them for the last of 2 x 4 tasks.
STEP = {
    "SLURM_JOB_ID": "812345",
    "SLURM_STEP_ID": "1",
    "SLURM_PROCID": "7",
    "SLURM_LOCALID": "3",
    "SLURM_NODEID": "1",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NODELIST": "gpu[07,09]",
}
TORCH = {
    "RANK": "5",
    "WORLD_SIZE": "6",
    "LOCAL_RANK": "2",
    "LOCAL_WORLD_SIZE": "3",
    "GROUP_RANK": "1",
}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Ranks()),
        (TORCH, Ranks(5, 6, 2, 1, TORCHRUN)),
        # A wrapper around mpirun may give the first two alone.
        ({"RANK": "1", "WORLD_SIZE": "2"}, Ranks(1, 2, 1, 0, TORCHRUN)),
        ({"RANK": "1"}, Ranks()),
        (STEP, Ranks(7, 8, 3, 1, SLURM)),
        # srun starts one torchrun per machine.
        (STEP | TORCH, Ranks(5, 6, 2, 1, TORCHRUN)),
        # The batch script itself, before its srun.
        (
            {k: v for k, v in STEP.items() if "STEP" not in k} | {"SLURM_PROCID": "0"},
            Ranks(),
        ),
        # A step of one task, whose command may spawn processes.
        (STEP | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, Ranks()),
        # A scheduler that imitates Slurm's names.
        (
            {"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NTASKS": "2"},
            Ranks(1, 2, 1, 0, SLURM),
        ),
    ],
)
def test_ranks_of_an_environment(environment, expected):
    assert read_ranks(environment) == expected


def test_variables_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="expected a number in the variable WORLD_SIZE, got 'two'"):
        read_ranks({"RANK": "0", "WORLD_SIZE": "two"})
    with pytest.raises(ValueError, match=r"expected a rank in \[0, 8\).*got 8 from Slurm; unset"):
        read_ranks(STEP | {"SLURM_PROCID": "8"})


def test_processes_of_a_step_meet_at_its_first_node():
    address = rendezvous_address(STEP)
    assert address.startswith("tcp://gpu07:")
    assert 15000 <= int(address.rsplit(":", 1)[1]) < 30000
    assert rendezvous_address(STEP | {"SLURM_PROCID": "0"}) == address
    assert rendezvous_address(STEP | {"SLURM_STEP_ID": "2"}) != address
    given = STEP | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"}
    assert rendezvous_address(given) == "tcp://10.0.0.1:1234"
    assert rendezvous_address(STEP | TORCH) == "env://"
    without = {k: v for k, v in STEP.items() if "NODELIST" not in k}
    with pytest.raises(ValueError, match="export MASTER_ADDR with the name of the first node"):
        rendezvous_address(without)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu7", "gpu7"),
        ("gpu7,gpu9", "gpu7"),
        ("gpu[007-012]", "gpu007"),
        ("gpu[07,09-11],login2", "gpu07"),
        ("rack[1-2]node[3-4]", "rack1node3"),
        ("", ""),
    ],
)
def test_first_host(nodes, host):
    assert first_host(nodes) == host


def test_shares_of_shards_are_every_part_once():
    """Also where the launches of two machines have different numbers of processes."""
    shares = [Ranks(rank, 3).share_of((0, 2)) for rank in range(3)] + [Ranks().share_of((1, 2))]
    parts = sorted(part for index, count in shares for part in range(20)[index::count])
    assert parts == list(range(20))
    assert Ranks(1, 8).share_of((1, 4)) == (5, 32)
