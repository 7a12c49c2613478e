// Distances of rows with few columns to components, differences and sums in float64.
//
// Matrix units take sixteen columns at least: with three, a factor of three by three would be one part in thirty of what
// they multiply. Here a thread has a component, keeps its mean and factor in registers and goes through rows:
// neighbours read the same row and write neighbouring distances. No shared memory and no barrier: any order of threads
// is right, which is also how a test runs this file on a CPU.
//
// Macros: NUMBER, the type of rows and of distances; COLUMNS; RANK, columns of a factor; UPPER, whether below the
// diagonal of all factors (COLUMNS by COLUMNS) there are only zeros.

extern "C" __global__ void components(
    const NUMBER* __restrict__ X, long long n, const double* __restrict__ means, const double* __restrict__ factors,
    long long k, int root, NUMBER* __restrict__ out) {
  const long long component = static_cast<long long>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (component >= k) return;
  // means[column][component], factors[column][of the factor][component]: neighbours read neighbouring numbers.
  double mean[COLUMNS];
  double factor[COLUMNS][RANK];
#pragma unroll
  for (int j = 0; j < COLUMNS; ++j) {
    mean[j] = means[j * k + component];
#pragma unroll
    for (int c = UPPER ? j : 0; c < RANK; ++c) factor[j][c] = factors[(j * RANK + c) * k + component];
  }
  const long long step = static_cast<long long>(gridDim.x) * blockDim.y;
  for (long long row = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y; row < n; row += step) {
    double apart[COLUMNS];
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j) apart[j] = static_cast<double>(X[row * COLUMNS + j]) - mean[j];
    double total = 0.0;
#pragma unroll
    for (int c = 0; c < RANK; ++c) {
      double mapped = 0.0;
#pragma unroll
      for (int j = 0; j < (UPPER ? c + 1 : COLUMNS); ++j) mapped += apart[j] * factor[j][c];
      total += mapped * mapped;
    }
    out[row * k + component] = static_cast<NUMBER>(root ? sqrt(total) : total);
  }
}
