// Kube-router is the network policy controller of kube-router alone, as k3s runs it: it turns the NetworkPolicies that
// concern the pods of this node into iptables rules and ipsets of this network namespace.
package main

import (
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	core "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: kube-router KUBECONFIG NODE SERVICE-NETWORK")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "kube-router:", err)
		os.Exit(1)
	}
}

func run(kubeconfig, node, services string) error {
	access, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return err
	}
	config := options.NewKubeRouterConfig()
	config.HostnameOverride, config.ClusterIPCIDRs = node, []string{services}
	config.EnableIPv4, config.EnableIPv6 = true, false
	config.IPTablesSyncPeriod = time.Minute
	stop := make(chan struct{})
	made := informers.NewSharedInformerFactory(client, 0)
	pods, namespaces := made.Core().V1().Pods().Informer(), made.Core().V1().Namespaces().Informer()
	policies := made.Networking().V1().NetworkPolicies().Informer()
	made.Start(stop)
	made.WaitForCacheSync(stop)
	tables, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	controller, err := netpol.NewNetworkPolicyController(
		client, config, pods, policies, namespaces, &sync.Mutex{}, tables, sets)
	if err != nil {
		return err
	}
	pods.AddEventHandler(starts(controller.PodEventHandler))
	namespaces.AddEventHandler(controller.NamespaceEventHandler)
	policies.AddEventHandler(controller.NetworkPolicyEventHandler)
	beats := make(chan *healthcheck.ControllerHeartbeat)
	go func() {
		for range beats { // nobody asks how it is
		}
	}()
	var running sync.WaitGroup
	running.Add(1)
	controller.Run(beats, stop, &running)
	return nil
}

// starts passes on pods that get an address, and what rules depend on of those that have one. The rules of a pod that
// has ended concern nobody, and go with the next sync: a sync starts some thirty programs.
func starts(to cache.ResourceEventHandler) cache.ResourceEventHandler {
	return cache.FilteringResourceEventHandler{
		FilterFunc: func(object any) bool {
			pod, ok := object.(*core.Pod)
			return ok && pod.Status.PodIP != "" && pod.Status.Phase != core.PodSucceeded && pod.Status.Phase != core.PodFailed
		},
		Handler: cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: to.OnAdd,
			UpdateFunc: func(before, after any) {
				old, pod := before.(*core.Pod), after.(*core.Pod)
				if old.Status.PodIP != pod.Status.PodIP || !maps.Equal(old.Labels, pod.Labels) {
					to.OnUpdate(before, after)
				}
			},
		},
	}
}
