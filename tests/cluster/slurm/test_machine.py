"""Machine: what a machine file means, and what is said of a wrong one."""

from pathlib import Path

import pytest

from relusweep.cluster.backend import BackendError
from relusweep.cluster.slurm.machine import Machine, MachineError

SHIPPED = sorted(Path(__file__).parents[3].glob("slurm/*.toml"))


@pytest.fixture
def read(tmp_path):
    def make(text: str) -> Machine:
        path = tmp_path / "site.toml"
        path.write_text(text, encoding="utf-8")
        return Machine.read(path)

    return make


def test_only_the_time_limit_must_be_given(read):
    machine = read('time = "90"')
    assert (machine.gpus_per_node, machine.gpus_per_job, machine.ranks) == (0, 0, 1)
    assert (machine.cpus_per_task, machine.signal_seconds, machine.setup, machine.environment) == (1, 90, (), {})
    rest = "account partition qos constraint mem max_array_tasks array_size scratch"
    assert {getattr(machine, name) for name in rest.split()} == {None}


def test_job_has_one_gpu_unless_told_otherwise(read):
    assert read('time = "90"\ngpus_per_node = 4').ranks == 1
    assert read('time = "90"\ngpus_per_node = 4\ngpus_per_job = 4').ranks == 4


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2", 120),
        ("2:30", 150),
        ("1:30:00", 5400),
        ("2-12", 2 * 86400 + 12 * 3600),
        ("0-0:5", 300),
        ("1-2:3:4", 86400 + 7200 + 180 + 4),
    ],
)
def test_time_limit_is_read_as_slurm_reads_it(read, text, seconds):
    assert read(f'time = "{text}"\nsignal_seconds = 1').seconds == seconds


def test_job_is_asked_to_stop_before_the_signal_is_due(read):
    assert read('time = "60"\nsignal_seconds = 120').sure_seconds == 3600 - 120 - 60
    assert read('time = "2:31"').sure_seconds == 1


def test_everything_that_a_site_needs_can_be_said(read):
    machine = read(
        'account = "abc123"\npartition = "gpu,gpu-long"\nqos = "normal"\nconstraint = "[a100|h100]&ib"\nmem = "16G"\n'
        'time = "2-12"\nmax_array_tasks = 20\narray_size = 1001\nscratch = "/local/$USER/${SLURM_JOB_ID}"\n'
        'setup = ["module load cuda", ". env/bin/activate"]\n[environment]\nOMP_NUM_THREADS = "1"\nEMPTY = ""'
    )
    assert machine.setup == ("module load cuda", ". env/bin/activate")
    assert machine.environment == {"OMP_NUM_THREADS": "1", "EMPTY": ""}
    assert machine.constraint == "[a100|h100]&ib"
    with pytest.raises(ValueError, match="frozen"):
        machine.time = "1"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_machine_files_are_valid(path):
    assert Machine.read(path).seconds > 0


def test_annotated_example_explains_every_key():
    example = next(path for path in SHIPPED if path.stem == "example").read_text(encoding="utf-8")
    for name in Machine.model_fields:
        assert f"\n{name} = " in example or f"\n[{name}]" in example or f"\n# {name} = " in example, name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "site.toml: time: missing; expected SLURM's notation of time, above 0 and at most a year, as text. Write '90'"),
        ("time = 90", "site.toml: time = 90; expected SLURM's notation of time, above 0 and at most a year, as text"),
        ("time = '2 h'", "time = '2 h'; expected SLURM's notation"),
        ("time = '1:2:3:4'", "time = '1:2:3:4'; expected SLURM's notation"),
        ("time = '90\\n'", "time = .*; expected SLURM's notation"),
        ("time = '٩٠'", "time = '٩٠'; expected SLURM's notation"),
        ("time = '0'", "time = '0'; expected SLURM's notation of time, above 0"),
        ("time = '1:75:00'", "time = '1:75:00'; expected SLURM's notation of time"),
        ("time = '9:75'", "time = '9:75'; expected SLURM's notation of time"),
        ("time = '2-24'", "time = '2-24'; expected SLURM's notation of time"),
        ("time = '99999999'", "time = '99999999'; expected SLURM's notation of time, above 0 and at most a year"),
        ("time = 'UNLIMITED'", "time = 'UNLIMITED'; expected SLURM's notation of time"),
        ("time = '9'\nacount = 'a'", r"site.toml: acount: unknown key; did you mean `account`\?"),
        ("acount = 'a'", r"site.toml: acount: unknown key; did you mean `account`\?"),
        ("walltime = '9'\ngpus_per_node = -1", "walltime: unknown key; did you mean `time`"),
        ("time = '9'\nwalltime = 'a'", "walltime: unknown key; did you mean `time`"),
        ("time = '9'\nzzz = 'a'", "zzz: unknown key; known: account, partition, qos"),
        ("time = '9'\naccount = 'a b'", "account = 'a b'; expected a name without spaces, as sbatch --account"),
        ("time = '9'\naccount = '--help'", "account = '--help'; expected a name without spaces, .*, and no '-' first"),
        ("time = '9'\nconstraint = '-a'", "constraint = '-a'; expected features without spaces, .*, and no '-' first"),
        ("time = '9'\npartition = ''", "partition = ''; expected a name without spaces, as sbatch --partition"),
        ("time = '9'\nqos = 3", "qos = 3; expected a name without spaces, as sbatch --qos"),
        ('time = "9"\nconstraint = "a\\nb"', r"constraint = 'a\\nb'; expected features without spaces"),
        ("time = '9'\ngpus_per_node = -1", "gpus_per_node = -1; expected greater than or equal to 0"),
        ("time = '9'\ngpus_per_node = '2'", "gpus_per_node = '2'; expected a valid integer"),
        ("time = '9'\ngpus_per_node = true", "gpus_per_node = True; expected a valid integer"),
        ("time = '9'\ngpus_per_job = 1", "gpus_per_job = 1; expected 0, as gpus_per_node = 0 says"),
        ("time = '9'\ngpus_per_node = 2\ngpus_per_job = 3", "gpus_per_job = 3; expected from 1 to gpus_per_node = 2"),
        ("time = '9'\ngpus_per_node = 2\ngpus_per_job = 0", "gpus_per_job = 0; expected from 1 to gpus_per_node = 2"),
        ("time = '9'\ncpus_per_task = 0", "cpus_per_task = 0; expected greater than or equal to 1"),
        (f"time = '9'\ncpus_per_task = {10**23}", "cpus_per_task = 1(0){23}; expected less than or equal to 65533"),
        (f"time = '9'\ngpus_per_node = {10**23}", "gpus_per_node = 1(0){23}; expected less than or equal to 65533"),
        (f"time = '9'\narray_size = {10**23}", "array_size = 1(0){23}; expected less than or equal to 4000001"),
        (f"time = '9'\nmax_array_tasks = {10**23}", "max_array_tasks = 1(0){23}; expected less than or equal to 4000001"),
        (f"time = '9'\nmem = '{10**23}G'", "mem = '1(0){23}G'; expected SLURM's notation of memory"),
        ("time = '9'\nmem = '16 GB'", "mem = '16 GB'; expected SLURM's notation of memory: .* Write '16G'"),
        ("time = '9'\nmem = 16", "mem = 16; expected SLURM's notation of memory"),
        ("time = '9'\nmax_array_tasks = 0", "max_array_tasks = 0; expected greater than or equal to 1"),
        ("time = '9'\narray_size = 0", "array_size = 0; expected greater than or equal to 1"),
        ("time = '9'\nsetup = 'module load cuda'", "setup = 'module load cuda'; expected shell lines, each a text"),
        ('time = "9"\nsetup = ["a", "b\\nc"]', r"setup\[1\] = 'b\\nc'; expected shell lines, each a text without a line"),
        ("time = '9'\nsetup = [1]", r"setup\[0\] = 1; expected shell lines"),
        ("time = '9'\nenvironment = 'A=1'", "environment = 'A=1'; expected a table"),
        ("time = '9'\n[environment]\nOMP_NUM_THREADS = 1", "environment.OMP_NUM_THREADS = 1; expected a text"),
        ('time = "9"\n[environment]\nA = "b\\nc"', "environment.A = .*; expected a text without a line break"),
        ("time = '9'\n[environment]\nA-B = '1'", "environment: 'A-B' cannot name a variable; expected letters"),
        ("time = '9'\n[environment]\nCUDA_VISIBLE_DEVICES = '0'", "environment.CUDA_VISIBLE_DEVICES: SLURM's own; .* Rem"),
        ("time = '9'\n[environment]\nSLURM_CONF = 'x'", "environment.SLURM_CONF: SLURM's own; expected"),
        ("time = '9'\nscratch = 'tmp'", "scratch = 'tmp'; expected an absolute path, or one that begins with a variable"),
        ("time = '9'\nscratch = '~/tmp'", r"scratch = '~/tmp'; expected an absolute path.* Write '/tmp/\$USER'"),
        ("time = '9'\nscratch = '/tmp/$(id -un)'", "scratch = .*; expected a variable's name after every '\\$'"),
        ("time = '1'\nsignal_seconds = 59", "signal_seconds = 59: SLURM may send the signal 60 s early, and time = '1' is "
         "60 s; expected more than 119 s. Give jobs more time"),
        ("time = '2:30'", "signal_seconds = 90: .*, and time = '2:30' is 150 s; expected more than 150 s"),
        ("time = '9'\nsignal_seconds = 0", "signal_seconds = 0; expected greater than or equal to 1"),
        ("time = '9-0'\nsignal_seconds = 70000", "signal_seconds = 70000; expected less than or equal to 65535"),
        ("time = ", "site.toml: not valid TOML: "),
    ],
)  # fmt: skip
def test_wrong_machine_file_is_refused_with_place_and_cure(read, text, message):
    with pytest.raises(MachineError, match=message) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, BackendError)  # which the command line says in one line, with exit code 2


def test_missing_machine_file_says_where_to_begin(tmp_path):
    with pytest.raises(MachineError, match=r"nowhere.toml: no machine file \(No such file .*Copy slurm/example.toml"):
        Machine.read(tmp_path / "nowhere.toml")
    with pytest.raises(MachineError, match=r"no machine file \(Is a directory\)"):
        Machine.read(tmp_path)


def test_machine_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "site.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(MachineError, match="site.toml: not a text file; expected a machine file in TOML"):
        Machine.read(tmp_path / "site.toml")
