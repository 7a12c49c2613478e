// Sums of clusters in float64, without atomic additions: segments of rows that lie sorted by label, then their sums.
//
// A thread has a column: neighbours read neighbouring numbers of a row, and each adds its own in the order of the rows,
// so that the same labels give the same bits. No shared memory and no barrier: any order of threads is right, which is
// also how a test runs this file on a CPU.

// Sum of one segment (blockIdx.x), one column a thread: rows[begin .. end) of X, weighted where there are weights.
template <typename T>
__device__ void add_segment(
    const T* __restrict__ X, long long d, const long long* __restrict__ rows, const double* __restrict__ weights,
    const int* __restrict__ starts, const int* __restrict__ first_segments, const int* __restrict__ owners,
    int segments, int length, double* __restrict__ sums, double* __restrict__ totals) {
  const int segment = static_cast<int>(blockIdx.x);
  const long long column = static_cast<long long>(blockIdx.y) * blockDim.x + threadIdx.x;
  // There may be fewer segments than there is room for.
  if (segment >= segments) return;
  const int owner = owners[segment];
  const long long inside = segment - first_segments[owner];
  const long long begin = starts[owner] + inside * length;
  const long long last = starts[owner + 1];
  const long long end = begin + length < last ? begin + length : last;
  if (column < d) {
    double sum = 0.0;
    for (long long place = begin; place < end; ++place) {
      const double x = static_cast<double>(X[rows[place] * d + column]);
      sum += weights == nullptr ? x : weights[place] * x;
    }
    sums[static_cast<long long>(segment) * d + column] = sum;
  }
  if (column == 0) {
    double total = 0.0;
    for (long long place = begin; place < end; ++place) total += weights == nullptr ? 1.0 : weights[place];
    totals[segment] = total;
  }
}

extern "C" {

__global__ void segment_float32(
    const float* X, long long d, const long long* rows, const double* weights, const int* starts,
    const int* first_segments, const int* owners, int segments, int length, double* sums, double* totals) {
  add_segment(X, d, rows, weights, starts, first_segments, owners, segments, length, sums, totals);
}

__global__ void segment_float64(
    const double* X, long long d, const long long* rows, const double* weights, const int* starts,
    const int* first_segments, const int* owners, int segments, int length, double* sums, double* totals) {
  add_segment(X, d, rows, weights, starts, first_segments, owners, segments, length, sums, totals);
}

// Sum of one cluster's segments (blockIdx.x is the cluster), one column a thread, and its weight.
__global__ void combine(
    long long d, const int* __restrict__ first_segments, const double* __restrict__ partial,
    const double* __restrict__ partial_totals, double* __restrict__ sums, double* __restrict__ totals) {
  const long long cluster = blockIdx.x;
  const long long column = static_cast<long long>(blockIdx.y) * blockDim.x + threadIdx.x;
  const int begin = first_segments[cluster];
  const int end = first_segments[cluster + 1];
  if (column < d) {
    double sum = 0.0;
    for (long long segment = begin; segment < end; ++segment) sum += partial[segment * d + column];
    sums[cluster * d + column] = sum;
  }
  if (column == 0) {
    double total = 0.0;
    for (int segment = begin; segment < end; ++segment) total += partial_totals[segment];
    totals[cluster] = total;
  }
}

}  // extern "C"
