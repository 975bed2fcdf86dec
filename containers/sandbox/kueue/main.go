// Kueue's manager with what pods without an owner need of it: its core controllers and webhooks, its scheduler, and its
// pod integration. Left out, because it is most of what takes time to build: the integrations of other kinds of jobs,
// MultiKueue, provisioning requests, the visibility server, and certificates, which the caller has.
//
//	kueue CONFIGURATION   with KUBECONFIG in the environment
package main

import (
	"context"
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	configv1beta1 "sigs.k8s.io/kueue/apis/config/v1beta1"
	configv1beta2 "sigs.k8s.io/kueue/apis/config/v1beta2"
	kueuev1alpha1 "sigs.k8s.io/kueue/apis/kueue/v1alpha1"
	kueuev1beta1 "sigs.k8s.io/kueue/apis/kueue/v1beta1"
	kueuev1beta2 "sigs.k8s.io/kueue/apis/kueue/v1beta2"
	qcache "sigs.k8s.io/kueue/pkg/cache/queue"
	schdcache "sigs.k8s.io/kueue/pkg/cache/scheduler"
	"sigs.k8s.io/kueue/pkg/config"
	"sigs.k8s.io/kueue/pkg/constants"
	"sigs.k8s.io/kueue/pkg/controller/core"
	"sigs.k8s.io/kueue/pkg/controller/core/indexer"
	"sigs.k8s.io/kueue/pkg/controller/jobframework"
	_ "sigs.k8s.io/kueue/pkg/controller/jobs/pod"
	"sigs.k8s.io/kueue/pkg/controller/tas"
	tasindexer "sigs.k8s.io/kueue/pkg/controller/tas/indexer"
	"sigs.k8s.io/kueue/pkg/metrics"
	"sigs.k8s.io/kueue/pkg/scheduler"
	"sigs.k8s.io/kueue/pkg/util/kubeversion"
	"sigs.k8s.io/kueue/pkg/webhooks"
)

func main() {
	if err := run(ctrl.SetupSignalHandler(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "kueue:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file string) error {
	ctrl.SetLogger(zap.New())
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, kueuev1beta2.AddToScheme, kueuev1beta1.AddToScheme, kueuev1alpha1.AddToScheme,
		configv1beta1.AddToScheme, configv1beta2.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	options, settings, err := config.Load(scheme, file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(settings.FeatureGates); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	metrics.Register()
	manager, err := ctrl.NewManager(ctrl.GetConfigOrDie(), options)
	if err != nil {
		return err
	}
	if err := setUp(ctx, manager, &settings); err != nil {
		return err
	}
	return manager.Start(ctx)
}

// setUp hands Kueue's controllers, webhooks and scheduler to the manager, in the order of Kueue's own program.
func setUp(ctx context.Context, manager ctrl.Manager, settings *configv1beta2.Configuration) error {
	cluster := schdcache.New(manager.GetClient())
	queues := qcache.NewManager(manager.GetClient(), cluster)
	frameworks := jobframework.WithEnabledFrameworks(settings.Integrations.Frameworks)
	for _, index := range []func() error{
		func() error { return indexer.Setup(ctx, manager.GetFieldIndexer()) },
		func() error { return tasindexer.SetupIndexes(ctx, manager.GetFieldIndexer()) },
		func() error { return jobframework.SetupIndexes(ctx, manager.GetFieldIndexer(), frameworks) },
	} {
		if err := index(); err != nil {
			return err
		}
	}
	if name, err := core.SetupControllers(manager, queues, cluster, settings); err != nil {
		return fmt.Errorf("controller %s: %w", name, err)
	}
	if name, err := tas.SetupControllers(manager, queues, cluster, settings); err != nil {
		return fmt.Errorf("controller %s: %w", name, err)
	}
	namespaces, err := metav1.LabelSelectorAsSelector(settings.ManagedJobsNamespaceSelector)
	if err != nil {
		return err
	}
	client, err := discovery.NewDiscoveryClientForConfig(manager.GetConfig())
	if err != nil {
		return err
	}
	version := kubeversion.NewServerVersionFetcher(client)
	if err := version.FetchServerVersion(); err != nil {
		return err
	}
	if err := jobframework.SetupControllers(ctx, manager, ctrl.Log,
		frameworks,
		jobframework.WithManageJobsWithoutQueueName(settings.ManageJobsWithoutQueueName),
		jobframework.WithWaitForPodsReady(settings.WaitForPodsReady),
		jobframework.WithKubeServerVersion(version),
		jobframework.WithManagerName(constants.KueueName),
		jobframework.WithLabelKeysToCopy(settings.Integrations.LabelKeysToCopy),
		jobframework.WithCache(cluster),
		jobframework.WithQueues(queues),
		jobframework.WithObjectRetentionPolicies(settings.ObjectRetentionPolicies),
		jobframework.WithManagedJobsNamespaceSelector(namespaces),
	); err != nil {
		return err
	}
	if name, err := webhooks.Setup(manager); err != nil {
		return fmt.Errorf("webhook %s: %w", name, err)
	}
	if err := manager.AddReadyzCheck("webhooks", manager.GetWebhookServer().StartedChecker()); err != nil {
		return err
	}
	if err := manager.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	go queues.CleanUpOnContext(ctx)
	go cluster.CleanUpOnContext(ctx)
	return manager.Add(scheduler.New(queues, cluster, manager.GetClient(),
		manager.GetEventRecorderFor(constants.AdmissionName)))
}
