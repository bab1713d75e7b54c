//! The kinds whose schemas are wanted. Everything they mention is reached
//! from them; a list type comes with every kind that can be listed.

use k8s_openapi::{ListableResource, Resource};
use schemars::{JsonSchema, SchemaGenerator};

/// A kind, as the published API names it.
pub struct Root {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The API version.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The kind of its list, if it can be listed.
    pub list_kind: Option<&'static str>,
    /// The name of its schema.
    pub schema_name: String,
}

fn plain<T: JsonSchema>(generator: &mut SchemaGenerator) {
    let _ = generator.subschema_for::<T>();
}

fn kind<T: Resource + JsonSchema>(generator: &mut SchemaGenerator) -> Root {
    plain::<T>(generator);
    Root {
        group: T::GROUP,
        version: T::VERSION,
        kind: T::KIND,
        list_kind: None,
        schema_name: T::schema_name().into_owned(),
    }
}

fn listed<T: ListableResource + JsonSchema>(generator: &mut SchemaGenerator) -> Root {
    Root {
        list_kind: Some(T::LIST_KIND),
        ..kind::<T>(generator)
    }
}

macro_rules! collect {
    ($generator:ident, $how:ident, $($($module:ident)::+ : $($name:ident)+;)+) => {
        {
            let mut roots = Vec::new();
            $({
                use k8s_openapi::$($module)::+ as module;
                $(roots.push($how::<module::$name>($generator));)+
            })+
            roots
        }
    };
}

/// Registers every root with the generator and returns the kinds.
pub fn register(generator: &mut SchemaGenerator) -> Vec<Root> {
    let mut roots = collect!(generator, listed,
        api::admissionregistration::v1: MutatingAdmissionPolicy MutatingAdmissionPolicyBinding
            MutatingWebhookConfiguration ValidatingAdmissionPolicy
            ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration;
        api::admissionregistration::v1alpha1: MutatingAdmissionPolicy MutatingAdmissionPolicyBinding;
        api::admissionregistration::v1beta1: MutatingAdmissionPolicy MutatingAdmissionPolicyBinding;
        api::apiserverinternal::v1alpha1: StorageVersion;
        api::apps::v1: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet;
        api::autoscaling::v1: HorizontalPodAutoscaler;
        api::autoscaling::v2: HorizontalPodAutoscaler;
        api::batch::v1: CronJob Job;
        api::certificates::v1: CertificateSigningRequest;
        api::certificates::v1alpha1: ClusterTrustBundle;
        api::certificates::v1beta1: ClusterTrustBundle PodCertificateRequest;
        api::coordination::v1: Lease;
        api::coordination::v1alpha2: LeaseCandidate;
        api::coordination::v1beta1: LeaseCandidate;
        api::core::v1: ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node
            PersistentVolume PersistentVolumeClaim Pod PodTemplate ReplicationController
            ResourceQuota Secret Service ServiceAccount;
        api::discovery::v1: EndpointSlice;
        api::events::v1: Event;
        api::flowcontrol::v1: FlowSchema PriorityLevelConfiguration;
        api::networking::v1: IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR;
        api::networking::v1beta1: IPAddress ServiceCIDR;
        api::node::v1: RuntimeClass;
        api::policy::v1: PodDisruptionBudget;
        api::rbac::v1: ClusterRole ClusterRoleBinding Role RoleBinding;
        api::resource::v1: DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice;
        api::resource::v1alpha3: DeviceTaintRule ResourcePoolStatusRequest;
        api::resource::v1beta1: DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice;
        api::resource::v1beta2: DeviceClass DeviceTaintRule ResourceClaim ResourceClaimTemplate
            ResourceSlice;
        api::scheduling::v1: PriorityClass;
        api::scheduling::v1alpha2: PodGroup Workload;
        api::storage::v1: CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment
            VolumeAttributesClass;
        api::storage::v1beta1: VolumeAttributesClass;
        api::storagemigration::v1beta1: StorageVersionMigration;
        apiextensions_apiserver::pkg::apis::apiextensions::v1: CustomResourceDefinition;
        kube_aggregator::pkg::apis::apiregistration::v1: APIService;
    );
    roots.extend(collect!(generator, kind,
        api::authentication::v1: SelfSubjectReview TokenRequest TokenReview;
        api::authorization::v1: LocalSubjectAccessReview SelfSubjectAccessReview
            SelfSubjectRulesReview SubjectAccessReview;
        api::autoscaling::v1: Scale;
        api::core::v1: Binding;
        api::policy::v1: Eviction;
        apimachinery::pkg::apis::meta::v1: APIGroup APIGroupList APIResourceList APIVersions Status;
    ));
    plain::<k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions>(generator);
    plain::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Patch>(generator);
    plain::<k8s_openapi::apimachinery::pkg::runtime::RawExtension>(generator);
    plain::<k8s_openapi::apimachinery::pkg::version::Info>(generator);
    roots
}
