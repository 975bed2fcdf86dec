"""
Train a small classifier on scikit-learn's handwritten digits: metrics as it goes, then a model and a report.

Writes ``digits-model.joblib`` and ``digits-report.txt`` to the working directory. Knows nothing of Slurm.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, classification_report, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def train(epochs: int, seed: int) -> tuple[MLPClassifier, str]:
    """
    Train for a number of epochs, one line of metrics each; give the model and its report on held-out digits.
    """
    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        digits.data / 16.0, digits.target, test_size=0.25, random_state=seed, stratify=digits.target
    )
    model = MLPClassifier(hidden_layer_sizes=(64,), learning_rate_init=2e-3, random_state=seed)
    classes = np.unique(digits.target)
    started = time.monotonic()
    for epoch in range(1, epochs + 1):
        model.partial_fit(x_train, y_train, classes=classes)
        loss = log_loss(y_test, model.predict_proba(x_test), labels=classes)
        accuracy = accuracy_score(y_test, model.predict(x_test))
        elapsed = time.monotonic() - started
        print(f"epoch {epoch:3d}/{epochs}  loss {loss:.4f}  accuracy {accuracy:.4f}  {elapsed:6.2f} s", flush=True)
    return model, classification_report(y_test, model.predict(x_test), digits=4)


def main() -> None:
    """Train as the command line says and leave model and report behind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training set (default: 40)")
    parser.add_argument("--seed", type=int, default=7, help="seed of split and weights (default: 7)")
    options = parser.parse_args()
    model, report = train(options.epochs, options.seed)
    joblib.dump(model, "digits-model.joblib")
    Path("digits-report.txt").write_text(report, encoding="utf-8")
    print(report, end="")


if __name__ == "__main__":
    main()
