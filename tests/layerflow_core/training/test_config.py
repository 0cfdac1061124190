import pytest

from layerflow_core.errors import TrainingError
from layerflow_core.training.config import read_training_config

pytest.importorskip("pydantic")

WHOLE = """
output = "runs/base"
[model]
checkpoint = "model.safetensors"
[stage]
name = "base"
blocks = "every"
[data.coarse]
folder = "clips"
[plan]
steps = 12
betas = [0.9, 0.99]
"""


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        (tmp_path / "train.toml").write_text(text)
        return read_training_config(tmp_path / "train.toml")

    return read_text


def test_a_file_becomes_types_with_paths_from_its_own_folder(read, tmp_path):
    config = read(WHOLE)
    assert (
        config.plan.steps == 12
        and config.plan.betas == (0.9, 0.99)
        and config.stage.blocks == "every"
    )
    assert (
        config.output == tmp_path / "runs/base"
        and config.data["coarse"].folder == tmp_path / "clips"
    )
    assert (
        read(WHOLE.replace('"clips"', '"/data/clips"')).data["coarse"].folder.as_posix()
        == "/data/clips"
    )


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("steps = 12", "steps = 12\nstep = 3", "plan.step: got 3; Unexpected"),
        ("folder =", "fodler =", "data.coarse.fodler"),
        ("steps = 12", 'steps = "many"', "plan.steps"),
        ("steps = 12\n", "", "plan.steps"),
        ('name = "base"', 'name = "bass"', "unknown stage 'bass'"),
        ("data.coarse", "data.stills", r"expects \['coarse'\]"),
        ('blocks = "every"', 'blocks = "half"', "stage.blocks"),
        ('blocks = "every"', 'tasks = "most"', "stage.tasks"),
        ("steps = 12", "steps = 0", "got plan.steps = 0"),
        ("steps = 12", 'steps = 12\nprecision = "int8"', "plan.precision = 'int8'"),
        ("steps = 12", 'steps = 12\nlr_schedule = "linear"', "plan.lr_schedule = 'linear'"),
        ("steps = 12", "steps = 12\nema = 1.0", "plan.ema_decay = 1.0"),
        ("steps = 12", "steps = 9223372036854775808", "plan.steps"),
        ("steps = 12", "steps = 12\nlr = nan", "plan.lr"),
        ("steps = 12", "steps = 12\nlr = inf", "plan.lr"),
        ("steps = 12", "steps = 12\nweight_decay = 1e300", "plan.weight_decay"),
        ("steps = 12", "steps = 12\nseed = -1", "plan.seed"),
        ("0.99]", "nan]", "plan.betas"),
        ('"every"', '"every"\nrank = -1', "stage.rank"),
        ('"clips"', '"clips"\nscale = [nan, 1.0]', "data.coarse.scale"),
        ('"clips"', '"clips"\nvariants = 1e30', "data.coarse.variants"),
        ("steps = 12", "steps = 12\nx = " + "[" * 10_000, "cannot be read as TOML"),
        ("[plan]", "[plan", "cannot be read as TOML"),
        ('output = "runs/base"', "", "output"),
    ],
)
def test_what_is_wrong_is_named(read, old, new, message):
    with pytest.raises(TrainingError, match=message):
        read(WHOLE.replace(old, new))


def test_the_content_stage_needs_a_motion_lora(read):
    text = WHOLE.replace('name = "base"', 'name = "content"').replace(
        "[data.coarse]", '[data.stills]\nfolder = "s"\n[data.pasted]'
    )
    with pytest.raises(TrainingError, match="train stage 'motion' first"):
        read(text)
    assert (
        read(
            text.replace("[stage]", 'motion_lora = "m.safetensors"\n[stage]')
        ).model.motion_lora.name
        == "m.safetensors"
    )


def test_only_text_in_a_regular_file_is_read(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b'output = "\xe9"')
    (tmp_path / "folder.toml").mkdir()
    for name, message in (
        ("latin", "not text in UTF-8"),
        ("folder", "not a regular file"),
        ("none", "cannot be read"),
    ):
        with pytest.raises(TrainingError, match=message):
            read_training_config(tmp_path / f"{name}.toml")
