import getpass
import socket
from pathlib import Path

import torch

from layerflow_core.check import machine
from layerflow_core.check.machine import describe_machine, installed_packages, runnable_kernels

CPU = torch.device("cpu")


def test_facts_without_a_person():
    facts = describe_machine(CPU)
    assert facts["device"] == "cpu" and facts["precision auto"] == "fp32"
    assert facts["attention auto"] == "sdpa"
    assert f"torch {torch.__version__}" in facts["packages"]
    told = " ".join(facts.values())
    assert str(Path.home()) not in told and socket.gethostname() not in told.split()
    assert getpass.getuser() not in told.split()


def test_packages_that_are_missing_are_not_named(monkeypatch):
    monkeypatch.setattr(machine, "_PACKAGES", ("torch", "no-such-package"))
    assert list(installed_packages()) == ["torch"]


def test_kernels_that_refuse_are_not_named():
    kernels = runnable_kernels(CPU, torch.float32)
    assert {"sdpa", "chunked"} <= set(kernels) and "cudnn" not in kernels
