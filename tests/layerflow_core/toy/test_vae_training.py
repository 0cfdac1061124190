import torch

from layerflow_core.toy.vae_training import ClipBatches, VaeTrainingModule, build_world_vae


def test_processes_draw_other_clips_of_one_shape():
    batches = ClipBatches()
    for step in range(3):
        first, second = batches.draw(step, range(0, 1)), batches.draw(step, range(1, 2))
        assert first.clips.shape == second.clips.shape and not torch.equal(
            first.clips, second.clips
        )
        assert torch.equal(first.clips, batches.draw(step, range(0, 1)).clips)


def test_loss_falls_where_its_gradient_points():
    torch.manual_seed(0)
    module = VaeTrainingModule(build_world_vae())
    batch = vars(ClipBatches().draw(1, range(1)))
    batch = {"clips": batch["clips"][:1, :, :4], "seed": batch["seed"]}
    loss = module(batch)
    assert loss.shape == (1,) and set(module.metrics()) == {"psnr", "kl"}
    loss.sum().backward()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter -= 1e-3 * parameter.grad
        assert module(batch) < loss
