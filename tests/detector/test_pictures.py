import numpy as np

from translate.detector.pictures import sheet, view


def test_several_layers_from_the_front_and_from_the_side():
    cells = np.zeros((2, 3, 4))
    cells[0, 1, 2], cells[1, 1, 3] = 5.0, 7.0
    seen = view(cells)
    assert seen.shape == (3, 4 + 1 + 2)
    np.testing.assert_array_equal(seen[1], [0, 0, 5, 7, np.nan, 5, 7])
    np.testing.assert_array_equal(view(cells[:1]), cells[0])


def test_red_above_zero_blue_below_and_white_at_zero():
    cells = np.zeros((2, 1, 8, 8), np.float32)
    cells[0, 0, :4], cells[0, 0, 4:] = 100.0, -0.5
    picture = np.asarray(sheet({"input": cells, "output": -cells}))
    assert picture.ndim == 3
    left, right = picture[:, : picture.shape[1] // 2].astype(int), picture[:, picture.shape[1] // 2 :].astype(int)
    red, blue = (lambda p: (p[..., 0] - p[..., 2] > 60).sum()), (lambda p: (p[..., 2] - p[..., 0] > 20).sum())
    assert red(left) > 1000
    assert blue(left) > 1000  # half a count is seen beside a hundred
    assert blue(right) > 1000
    assert (picture.min(2) > 245).mean() > 0.3  # the second row is empty


def test_an_empty_event_is_drawn():
    assert sheet({"a": np.zeros((1, 3, 4, 4))}).size[0] > 100
