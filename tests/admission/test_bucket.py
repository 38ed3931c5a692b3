from dragoman.admission.bucket import Bucket


def test_a_bucket_empties_and_fills_evenly() -> None:
    clock = [0.0]
    bucket = Bucket(3, 60.0, lambda: clock[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    assert bucket.is_empty()
    assert bucket.wait_s() == 20.0
    clock[0] = 19.9
    assert bucket.is_empty()
    clock[0] = 20.0
    assert not bucket.is_empty()
    assert bucket.take()
    clock[0] = 1e6
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
