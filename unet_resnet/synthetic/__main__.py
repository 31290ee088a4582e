from unet_resnet.synthetic.pavement import main

main()
