import subprocess
import sys

from translate import evaluation
from translate.evaluation import observables


def test_metrics_by_name_and_how_many_samples_they_need():
    for name, count in evaluation.NEEDED.items():
        assert callable(getattr(evaluation, name, None) or getattr(observables, name))
        assert count >= 100
    assert all(hasattr(evaluation, name) for name in evaluation.__all__)


def test_import_is_cheap():
    code = (
        "import sys, translate.evaluation;"
        "print([m for m in ('torch', 'torchmetrics', 'scipy', 'sklearn', 'PIL') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
