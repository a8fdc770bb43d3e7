"""Where TorchJD is not installed; the tests with it are in `tests/integrations`."""

import sys

import pytest

import paretomtl as pm
import paretomtl_solvers as ps


@pytest.mark.parametrize("convert", [ps.from_torchjd, pm.to_torchjd])
def test_without_torchjd_an_error_names_the_extra(convert, monkeypatch, unchecked):
    for name in ("torchjd", "torchjd.aggregation", "torchjd.scalarization"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "paretomtl.interop.torchjd_weighting", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'paretomtl\[torchjd\]'"):
        convert(ps.MGDA())
