from threadpoolctl import threadpool_info, threadpool_limits

from gradex.threads import blas_threads_for


def of_blas():
    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


def test_linear_algebra_of_small_matrices_takes_one_thread_for_a_while():
    with threadpool_limits(2, "blas"):
        before = of_blas()
        with blas_threads_for(300):
            assert set(of_blas()) == {1}
        assert of_blas() == before
        with blas_threads_for(1000):
            assert of_blas() == before
