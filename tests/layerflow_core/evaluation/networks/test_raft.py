import sys

import pytest
import torch
import torch.nn.functional as F

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.networks.raft import OpticalFlow, to_authors_name

CPU = torch.device("cpu")
FRAMES = (torch.rand(2, 3, 132, 150, generator=torch.Generator().manual_seed(1)) * 255).round()


class Reference:
    """RAFT written out from its authors' tensors (paper section 3; ``core/raft.py`` of princeton-vl/RAFT)."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.state = state

    def conv(self, x, name, stride=1):
        weight = self.state[f"{name}.weight"]
        padding = tuple(size // 2 for size in weight.shape[2:])
        return F.conv2d(x, weight, self.state[f"{name}.bias"], stride, padding)

    def norm(self, x, name):
        if name.startswith("fnet"):
            return F.instance_norm(x)
        s = self.state
        moments = s[f"{name}.running_mean"], s[f"{name}.running_var"]
        return F.batch_norm(x, *moments, s[f"{name}.weight"], s[f"{name}.bias"])

    def encode(self, x, net):
        x = self.norm(self.conv(x, f"{net}.conv1", 2), f"{net}.norm1").relu()
        for layer, stride in ((1, 1), (2, 2), (3, 2)):
            for number in range(2):
                x = self.residual(x, f"{net}.layer{layer}.{number}", stride if not number else 1)
        return self.conv(x, f"{net}.conv2")

    def residual(self, x, name, stride):
        y = self.norm(self.conv(x, f"{name}.conv1", stride), f"{name}.norm1").relu()
        y = self.norm(self.conv(y, f"{name}.conv2"), f"{name}.norm2").relu()
        if stride > 1:
            x = self.norm(self.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        return (x + y).relu()

    def look_up(self, pyramid, coords):
        steps = torch.arange(-4.0, 5)
        around = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1)[None]
        centre = coords[0].permute(1, 2, 0).reshape(-1, 1, 1, 2)
        found = []
        for level, volume in enumerate(pyramid):
            size = torch.tensor(volume.shape[:1:-1], dtype=torch.float32)
            grid = 2 * (centre / 2**level + around) / (size - 1) - 1
            found.append(F.grid_sample(volume, grid, align_corners=True).flatten(1))
        return torch.cat(found, 1).T.reshape(1, -1, *coords.shape[2:])

    def update(self, hidden, context, found, flow):
        name = "update_block"
        c = self.conv(found, f"{name}.encoder.convc1").relu()
        c = self.conv(c, f"{name}.encoder.convc2").relu()
        f = self.conv(flow, f"{name}.encoder.convf1").relu()
        f = self.conv(f, f"{name}.encoder.convf2").relu()
        motion = self.conv(torch.cat([c, f], 1), f"{name}.encoder.conv").relu()
        x = torch.cat([context, motion, flow], 1)
        for way in "12":
            both = torch.cat([hidden, x], 1)
            z = self.conv(both, f"{name}.gru.convz{way}").sigmoid()
            r = self.conv(both, f"{name}.gru.convr{way}").sigmoid()
            q = self.conv(torch.cat([r * hidden, x], 1), f"{name}.gru.convq{way}").tanh()
            hidden = (1 - z) * hidden + z * q
        inside = self.conv(hidden, f"{name}.flow_head.conv1").relu()
        return hidden, self.conv(inside, f"{name}.flow_head.conv2")

    def enlarge(self, hidden, flow):
        mask = self.conv(self.conv(hidden, "update_block.mask.0").relu(), "update_block.mask.2")
        height, width = flow.shape[2:]
        mask = (0.25 * mask).view(9, 8, 8, height, width).softmax(0)
        around = F.unfold(8 * flow, 3, padding=1).view(2, 9, 1, 1, height, width)
        large = (mask * around).sum(1)
        return large.permute(0, 3, 1, 4, 2).reshape(2, 8 * height, 8 * width)

    @torch.inference_mode()
    def between(self, first, second, updates=20):
        first, second = (self.encode_input(frame) for frame in (first, second))
        a, b = self.encode(first, "fnet"), self.encode(second, "fnet")
        height, width = a.shape[2:]
        volume = a.flatten(2)[0].T @ b.flatten(2)[0] / 16
        pyramid = [volume.view(-1, 1, height, width)]
        for _ in range(3):
            pyramid.append(F.avg_pool2d(pyramid[-1], 2))
        hidden, context = self.encode(first, "cnet").split(128, 1)
        hidden, context = hidden.tanh(), context.relu()
        ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        start = torch.stack([xs, ys]).float()[None]
        coords = start
        for _ in range(updates):
            found = self.look_up(pyramid, coords)
            hidden, step = self.update(hidden, context, found, coords - start)
            coords = coords + step
        return self.enlarge(hidden, coords - start)

    @staticmethod
    def encode_input(frame):
        return F.pad(2 * frame / 255 - 1, (1, 1, 2, 2), mode="replicate")


@pytest.fixture(scope="module")
def state():
    """Random weights by torchvision's names."""
    flow = pytest.importorskip("torchvision.models.optical_flow")
    torch.manual_seed(0)
    found = flow.raft_large(weights=None).state_dict()
    for key, value in found.items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith("running_mean"):
            value.normal_(std=0.1)
    return found


def test_parameters_are_as_many_as_in_the_public_file(state, tmp_path):
    torch.save(state, tmp_path / "raft_large_C_T_V1-0.pth")
    network = OpticalFlow(tmp_path, CPU)._network
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_257_536


def test_both_files_compute_what_the_authors_code_does(state, tmp_path):
    names = {key: to_authors_name(key) for key in state}
    theirs = {name: state[key] for key, name in names.items()}
    expected = Reference(theirs).between(FRAMES[:1], FRAMES[1:])
    torch.save(
        {f"module.{key}": value for key, value in theirs.items()}, tmp_path / "raft-things.pth"
    )
    flow = OpticalFlow(tmp_path, CPU).between(FRAMES[:1], FRAMES[1:])
    assert flow.shape == (2, 136, 152) and flow.abs().max() > 1
    assert (flow - expected).abs().max() < 1e-2 * flow.abs().max()
    torch.save(state, tmp_path / "raft_large_C_T_V1-0.pth")
    assert torch.equal(OpticalFlow(tmp_path, CPU).between(FRAMES[:1], FRAMES[1:]), flow)


def test_small_frames_are_refused(state, tmp_path):
    torch.save(state, tmp_path / "raft_large_C_T_V1-0.pth")
    with pytest.raises(EvaluationError, match="got 96 x 64 pixels, expected 128 x 128"):
        OpticalFlow(tmp_path, CPU).between(*torch.zeros(2, 1, 3, 64, 96))


@pytest.mark.parametrize(
    "key, name",
    [
        ("feature_encoder.layer2.0.downsample.0.weight", "fnet.layer2.0.downsample.0.weight"),
        ("context_encoder.convnormrelu.1.running_var", "cnet.norm1.running_var"),
        ("context_encoder.layer1.1.convnormrelu2.1.bias", "cnet.layer1.1.norm2.bias"),
        ("update_block.recurrent_block.convgru2.convq.bias", "update_block.gru.convq2.bias"),
        ("mask_predictor.conv.weight", "update_block.mask.2.weight"),
    ],
)
def test_names_of_the_authors_file(key, name):
    assert to_authors_name(key) == name


def test_a_missing_torchvision_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", None)
    with pytest.raises(EvaluationError, match="Dynamic degree needs the package torchvision"):
        OpticalFlow(tmp_path, CPU)
