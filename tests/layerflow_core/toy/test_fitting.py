import torch
import torch.distributed as dist

from layerflow_core.toy.fitting import FitPlan, fit, run_workers


def _work(rank: int, folder: str, steps: tuple[int, ...]) -> None:
    """Fit a line; stop after each of ``steps`` and go on from the file, as a stopped training does."""
    from pathlib import Path

    target = torch.tensor([[2.0, -1.0]])
    for count in steps:
        torch.manual_seed(0)
        model = torch.nn.Linear(2, 1)

        def loss_of(step, generator, model=model):
            x = torch.randn(8, 2, generator=generator)
            return {"loss": (model(x) - x @ target.T).square().mean()}

        plan = FitPlan(steps[-1], 0.3, 1.0, warm_up=2, save_every=count, log_every=1000, decay=0.5)
        stopping = _StopAfter(loss_of, count)
        try:
            fit(model, stopping, plan, Path(folder) / "state.pt", "line", lambda name: name == "weight")
        except InterruptedError:
            dist.barrier()
            continue
    if rank == 0:
        torch.save(model.state_dict(), Path(folder) / "result.pt")


class _StopAfter:
    def __init__(self, loss_of, last):
        self.loss_of, self.last = loss_of, last

    def __call__(self, step, generator):
        if step >= self.last:
            raise InterruptedError
        return self.loss_of(step, generator)


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path):
    results = []
    for name, steps in (("whole", (40,)), ("resumed", (15, 40))):
        folder = tmp_path / name
        folder.mkdir()
        run_workers(2, _work, str(folder), steps)
        results.append(torch.load(folder / "result.pt", weights_only=True))
    assert all(torch.equal(results[0][k], results[1][k]) for k in results[0])
    assert torch.allclose(results[0]["weight"], torch.tensor([[2.0, -1.0]]), atol=0.2)


def test_rate_rises_and_falls_to_zero():
    plan = FitPlan(100, 1.0, warm_up=10)
    rates = [plan.share_at(i) for i in range(100)]
    assert rates[0] == 0.1 and max(rates) == 1.0 and rates[-1] < 0.01
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
