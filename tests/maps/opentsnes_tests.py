"""openTSNE 1.0.4's own tests, each with the test of ours that asks the same, or with why it asks nothing of ours.

A key is ``file::class::test`` of openTSNE's source distribution; ``*`` stands for all that are not named.
"""

#: Run as they are, with our estimator in the place of openTSNE's (test_opentsnes_tests.py).
UNCHANGED = (
    "test_correctness.py::TestTSNECorrectness::test_basic_flow",
    "test_correctness.py::TestTSNECorrectness::test_iris_bh_transform_correctness",
    "test_correctness.py::TestTSNECorrectness::test_iris_fft_transform_correctness",
    "test_correctness.py::TestEarlyExaggerationCollapse::test_early_exaggeration_does_not_collapse",
    "test_correctness.py::TestDataMatricesWithDuplicatedRows::test_works_without_error",
    "test_tsne.py::TestTSNEParameterFlow::test_raises_error_on_unrecognized_metric",
    "test_tsne.py::TestTSNECallbackParams::test_can_pass_callbacks_to_tsne_object",
    "test_tsne.py::TestAlternativeFitUsageWithAffinityAndInitialization::test_string_initialization",
    "test_tsne.py::TSNEInitialization::test_low_variance",
    "test_tsne.py::TSNEInitialization::test_same_bh_optimized_median_initializations_for_transform",
    "test_tsne.py::TSNEInitialization::test_same_fft_optimized_median_initializations_for_transform",
    "test_tsne.py::TestRandomState::test_same_results_on_fixed_random_state_random_init",
    "test_tsne.py::TestRandomState::test_same_results_on_fixed_random_state_pca_init",
    "test_tsne.py::TestTSNEEmebedding::test_pickling_with_transform",
    "test_different_usages.py::TestUsageSimple::test_simple",
    "test_different_usages.py::TestUsageSimple::test_simple_multiscale",
    "test_sklearn_wrapper.py::TestTSNECorrectness::test_fit",
    "test_sklearn_wrapper.py::TestTSNECorrectness::test_fit_transform",
    "test_sklearn_wrapper.py::TestTSNECorrectness::test_transform",
)

_AFFINITY = "test_all_affinities_keep_species_together"
_START = "test_a_start_that_is_given_is_where_the_map_begins"
_PARTS = "test_iterations_in_two_parts_are_iterations_in_one"
_GRAPH = "test_distances_computed_before_come_as_a_graph"
_SCALES = "test_affinities_of_several_scales_are_opentsnes"
_UNIFORM = "test_uniform_affinities_are_opentsnes"
_SUMS = "test_affinities_sum_to_one_and_are_symmetric"

#: What they ask is asked in words of ours, by the test of this name in tests/maps or tests/kernels.
ASKED_BY = {
    "test_correctness.py::TestTSNECorrectness::test_advanced_flow": _PARTS,
    "test_correctness.py::TestTSNECorrectness::test_error_exaggeration_correction": (
        "test_callbacks_hear_the_true_divergence_while_attraction_is_exaggerated"
    ),
    "test_correctness.py::TestTSNECorrectness::test_iris": "test_similar_irises_come_together_from_a_random_start",
    "test_correctness.py::TestTSNECorrectness::test_iris_with_precomputed_distance_matrices": _GRAPH,
    "test_correctness.py::TestTSNECorrectness::test_iris_bh_transform_equivalency_with_one_by_one": (
        "test_rows_placed_one_by_one_come_where_they_come_together"
    ),
    "test_correctness.py::TestTSNECorrectness::test_iris_fft_transform_equivalency_with_one_by_one": (
        "test_rows_placed_one_by_one_come_where_they_come_together"
    ),
    "test_correctness.py::TestTSNECorrectness::test_bh_transform_with_point_subsets_using_perplexity_nn": (
        "test_rows_placed_one_by_one_come_where_they_come_together"
    ),
    "test_correctness.py::TestTSNECorrectness::test_fft_transform_with_point_subsets_using_perplexity_nn": (
        "test_rows_placed_one_by_one_come_where_they_come_together"
    ),
    "test_correctness.py::TestTSNECorrectness::test_bh_with_n_components_gt_3": (
        "test_more_dimensions_than_a_map_has_are_refused"
    ),
    "test_correctness.py::TestTSNECorrectness::test_fft_with_n_components_gt_2": (
        "test_points_that_cannot_be_worked_on_are_refused"
    ),
    "test_correctness.py::TestTSNECorrectnessUsingPrecomputedDistanceMatrix::test_iris": (
        "test_distances_computed_before_give_the_same_affinities"
    ),
    "test_correctness.py::TestSpectralInitializationCorrectness::test_spectral_agreement_with_sklearn": (
        "test_the_spectral_start_is_scikit_learns_spectral_embedding"
    ),
    "test_tsne.py::TestTSNEParameterFlow::test_constructor": "test_each_parameter_reaches_the_optimisation",
    "test_tsne.py::TestTSNEInplaceOptimization::test_inplace_embedding_optimization_doesnt_change_init": _START,
    "test_tsne.py::TestAlternativeFitUsageWithAffinityAndInitialization"
    "::test_precomputed_affinity_is_passed_to_embedding_object": "test_a_graph_in_place_of_rows_gives_the_same_map",
    "test_tsne.py::TestAlternativeFitUsageWithAffinityAndInitialization"
    "::test_precomputed_initialization_is_passed_to_embedding_object": _START,
    "test_tsne.py::TestAlternativeFitUsageWithAffinityAndInitialization::test_pca_init_with_only_affinities_passed": (
        _GRAPH
    ),
    "test_tsne.py::TSNEInitialization::test_mismatching_embedding_dimensions_simple_api": (
        "test_a_start_of_another_shape_is_refused"
    ),
    "test_tsne.py::TestDefaultParameterSettings::test_default_params_simple_vs_complex_flow": (
        "test_defaults_are_opentsnes_where_the_names_are"
    ),
    "test_tsne.py::TestAffinityIntegration::test_transform_with_standard_affinity": _AFFINITY,
    "test_tsne.py::TestAffinityIntegration::test_transform_with_multiscale_affinity": _AFFINITY,
    "test_tsne.py::TestTSNEEmebedding::test_pickling": "test_a_fitted_map_can_be_pickled_and_places_new_rows",
    "test_tsne.py::TestPrecomputedDistanceMatrices::test_precomputed_dist_matrix_via_affinities_uses_spectral_init": (
        _GRAPH
    ),
    "test_tsne.py::TestPrecomputedDistanceMatrices"
    "::test_precomputed_dist_matrix_via_tsne_interface_uses_spectral_init": _GRAPH,
    "test_tsne.py::TestPrecomputedDistanceMatrices::test_precomputed_dist_matrix_doesnt_override_valid_inits": _GRAPH,
    "test_tsne.py::TestMisc::test_very_large_affinity_matrices": "test_affinities_with_long_indices_are_taken",
    "test_different_usages.py::TestUsageSimple::test_with_precomputed_distances": _GRAPH,
    "test_different_usages.py::TestUsageLowestLevel::test_1": _AFFINITY,
    "test_different_usages.py::TestUsageWithCustomAffinity::test_affinity": _AFFINITY,
    "test_different_usages.py::TestUsageWithCustomAffinityAndCustomNeighbors"
    "::test_affinity_with_precomputed_neighbors": _GRAPH,
    "test_different_usages.py::TestUsageWithCustomAffinityAndCustomNeighbors"
    "::test_affinity_with_precomputed_distances": _GRAPH,
    "test_different_usages.py::TestUsageExplicitOptimizeCalls::test_multiple_optimize_calls": _PARTS,
    "test_affinities.py::TestPerplexityBased::test_doesnt_change_perplexity_parameter_value": (
        "test_fitting_changes_no_parameter"
    ),
    "test_affinities.py::TestMultiscale::test_handles_too_large_perplexities": (
        "test_affinities_that_cannot_be_are_refused"
    ),
    "test_affinities.py::TestMultiscale::test_single_perplexity_produces_same_result_as_perplexity_based_nn": (
        "test_one_perplexity_in_a_list_is_that_perplexity"
    ),
    "test_affinities.py::TestMultiscale::test_accepts_single_perplexity_value": (
        "test_one_perplexity_in_a_list_is_that_perplexity"
    ),
    "test_affinities.py::TestUniform::test_symmetrize_mean_has_two_distinct_values": _UNIFORM,
    "test_affinities.py::TestUniform::test_symmetrize_max_has_one_distinct_value": _UNIFORM,
    "test_affinities.py::TestUniform::test_symmetrize_with_invalid_parameter": (
        "test_a_way_to_symmetrize_that_does_not_exist_is_refused"
    ),
    "test_affinities.py::TestAffinityMatrixCorrectness::test_that_regular_matrix_sums_to_one": _SUMS,
    "test_affinities.py::TestAffinityMatrixCorrectness"
    "::test_affinity_matrix_matches_precomputed_distance_affinity_matrix_random": (
        "test_distances_computed_before_give_the_same_affinities"
    ),
    "test_affinities.py::TestAffinityMatrixCorrectness"
    "::test_affinity_matrix_matches_precomputed_distance_affinity_matrix_iris": (
        "test_distances_computed_before_give_the_same_affinities"
    ),
    "test_utils.py::TestClipping::*": "test_a_step_is_the_textbooks",
}

_EMBEDDING = "about openTSNE's embedding objects, which are optimised further in place; ours is fitted and done"
_PARTIAL = "about points that are optimised after they were placed; ours are placed and never move"
_INSIDE = "about which of openTSNE's own functions are called, and with what"
_INDEX = "about openTSNE's neighbour indices; ours are tested in tests/neighbors"
_AFFINITIES = "about openTSNE's affinity objects; ours are a matrix, computed anew for each fit"
_DOF = "about kernels with other degrees of freedom than 1, which ours does not have"

#: Why the others ask nothing of our estimator.
NOT_OURS = {
    "test_correctness.py::TestTSNECorrectnessUsingNonStandardDof::*": _DOF,
    "test_tsne.py::TestTSNEParameterFlow::test_embedding_optimize": _EMBEDDING,
    "test_tsne.py::TestTSNEParameterFlow::test_embedding_transform": _PARTIAL,
    "test_tsne.py::TestTSNEParameterFlow::test_partial_embedding_optimize": _PARTIAL,
    "test_tsne.py::TestTSNEParameterFlow::*": _INDEX,
    "test_tsne.py::TestTSNEInplaceOptimization::*": _EMBEDDING,
    "test_tsne.py::TestTSNECallbackParams::test_can_pass_callbacks_to_embedding_optimize": _EMBEDDING,
    "test_tsne.py::TestTSNECallbackParams::test_can_pass_callbacks_to_partial_embedding_optimize": _PARTIAL,
    "test_tsne.py::TestAlternativeFitUsageWithAffinityAndInitialization::test_fails_if_no_parameters_specified": (
        "fit without rows is a TypeError, as in scikit-learn"
    ),
    "test_tsne.py::TestAlternativeFitUsageWithAffinityAndInitialization"
    "::test_fails_if_affinities_parameter_is_not_correct_class": _AFFINITIES,
    "test_tsne.py::TestAlternativeFitUsageWithAffinityAndInitialization"
    "::test_parameter_init_takes_precendence_over_constructor_init": (
        "fit takes no second start: parameters are the constructor's, as in scikit-learn"
    ),
    "test_tsne.py::TSNEInitialization::test_same_unoptimized_initializations_for_transform": _PARTIAL,
    "test_tsne.py::TestRandomState::test_same_partial_embedding_on_fixed_random_state": _PARTIAL,
    "test_tsne.py::TestRandomState::*": _INSIDE,
    "test_tsne.py::TestGradientDescentOptimizer::*": "about openTSNE's optimiser as an object of its own",
    "test_tsne.py::TestAffinityIntegration::test_transform_with_nonstandard_affinity": (
        "ours places new rows by their neighbours, so it need not refuse uniform affinities"
    ),
    "test_tsne.py::TestMisc::test_interpolation_grid_not_called_using_bh": _INSIDE,
    "test_different_usages.py::TestUsageLowestLevel::test_2": (
        "about mixtures of Gaussians in one kernel; of openTSNE's two multiscale affinities ours has Multiscale"
    ),
    "test_different_usages.py::TestUsageWithCustomAffinity::test_precomputed_affinity": (
        "about a P of the user's own, which ours does not take"
    ),
    "test_different_usages.py::TestUsageWithCustomAffinityAndCustomNeighbors"
    "::test_affinity_with_queryable_knn_index": _INDEX,
    "test_different_usages.py::TestUsageExplicitOptimizeCalls::test_explicit_optimize_calls": _EMBEDDING,
    "test_affinities.py::*": _AFFINITIES,
    "test_nearest_neighbors.py::*": _INDEX,
}
